//! Walks through a script's tree, statement by statement.

use rustpython_vm::compiler::ast::visitor::{self, Visitor};
use rustpython_vm::compiler::ast::{self, Expr, ExprContext, Pattern, Stmt};

use super::names::{From, Scope, ScopeKind, ScriptNames};
use super::reader::Reader;

pub(in crate::language) fn read(suite: &[Stmt]) -> ScriptNames<'_> {
    let mut reader = Reader {
        names: ScriptNames {
            scopes: vec![Scope::default()],
            lazy_annotations: suite.iter().any(is_lazy_import),
            ..ScriptNames::default()
        },
        current: 0,
        guards: 0,
    };
    reader.visit_body(suite);
    reader.names
}

impl<'a> Visitor<'a> for Reader<'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::FunctionDef(function) => self.function_def(function),
            Stmt::ClassDef(class) => self.class_def(class),
            Stmt::Assign(assignment) => {
                self.visit_expr(&assignment.value);
                for target in &assignment.targets {
                    self.assign(target, From::Value(&assignment.value));
                }
            }
            Stmt::AnnAssign(assignment) => self.annotated(assignment),
            Stmt::For(loop_) => {
                self.visit_expr(&loop_.iter);
                self.assign(&loop_.target, From::ElementOf(&loop_.iter));
                self.visit_body(&loop_.body);
                self.visit_body(&loop_.orelse);
            }
            Stmt::Import(import) => self.import(import),
            Stmt::ImportFrom(import) => self.import_from(import),
            Stmt::Global(global) => self.declare(&global.names, ScopeKind::Module),
            Stmt::Nonlocal(nonlocal) => self.declare(&nonlocal.names, ScopeKind::Function),
            Stmt::Expr(expression) => {
                if let Expr::Attribute(attribute) = &*expression.value {
                    let place = self.place(attribute);
                    self.names.statements.push(place);
                }
                if let Expr::Call(call) = &*expression.value {
                    let place = self.place(call);
                    self.names.statement_calls.push(place);
                }
                visitor::walk_stmt(self, statement);
            }
            Stmt::With(with) => {
                let guard = u32::from(with.items.iter().any(|item| suppresses(&item.context_expr)));
                for item in &with.items {
                    self.visit_with_item(item);
                }
                self.guards += guard;
                self.visit_body(&with.body);
                self.guards -= guard;
            }
            Stmt::If(choice) if matches!(&*choice.test, Expr::BooleanLiteral(it) if !it.value) => {
                // It is never reached, and may be meant for another place.
                self.guards += 1;
                self.visit_body(&choice.body);
                self.guards -= 1;
                for clause in &choice.elif_else_clauses {
                    self.visit_elif_else_clause(clause);
                }
            }
            Stmt::Try(attempt) => self.attempt(attempt),
            _ => visitor::walk_stmt(self, statement),
        }
    }

    fn visit_expr(&mut self, expression: &'a Expr) {
        match expression {
            Expr::Name(name) => match name.ctx {
                ExprContext::Load => self.use_name(name, None),
                ExprContext::Store | ExprContext::Del | ExprContext::Invalid => {
                    self.bind(name.id.as_str(), From::Unknown);
                }
            },
            Expr::Attribute(attribute) => self.attribute(attribute),
            Expr::Call(call) => {
                self.note_own_attribute(call);
                let place = self.place(call);
                self.names.calls.push(place);
                visitor::walk_expr(self, expression);
            }
            Expr::Subscript(subscript) if subscript.ctx != ExprContext::Load => {
                let list = subscript.value.as_name_expr();
                self.names
                    .changing
                    .extend(list.map(|name| name.id.as_str()));
                visitor::walk_expr(self, expression);
            }
            Expr::Lambda(lambda) => {
                self.function(None, lambda.parameters.as_deref(), |reader| {
                    reader.visit_expr(&lambda.body);
                });
            }
            Expr::Named(named) => {
                self.visit_expr(&named.value);
                if let Expr::Name(name) = &*named.target {
                    let scope = self.function_scope();
                    self.bind_in(scope, name.id.as_str(), From::Value(&named.value));
                }
            }
            Expr::ListComp(it) => self.comprehension(&it.generators, &[&it.elt]),
            Expr::SetComp(it) => self.comprehension(&it.generators, &[&it.elt]),
            Expr::Generator(it) => self.comprehension(&it.generators, &[&it.elt]),
            Expr::DictComp(it) => {
                let results: Vec<&Expr> = it
                    .key
                    .iter()
                    .map(|key| &**key)
                    .chain([&*it.value])
                    .collect();
                self.comprehension(&it.generators, &results);
            }
            _ => visitor::walk_expr(self, expression),
        }
    }

    fn visit_annotation(&mut self, annotation: &'a Expr) {
        if !self.names.lazy_annotations {
            visitor::walk_annotation(self, annotation);
        }
    }

    fn visit_except_handler(&mut self, handler: &'a ast::ExceptHandler) {
        let ast::ExceptHandler::ExceptHandler(inner) = handler;
        if let Some(name) = &inner.name {
            self.bind(name.as_str(), From::Unknown);
        }
        visitor::walk_except_handler(self, handler);
    }

    fn visit_pattern(&mut self, pattern: &'a Pattern) {
        let name = match pattern {
            Pattern::MatchAs(it) => it.name.as_ref(),
            Pattern::MatchStar(it) => it.name.as_ref(),
            Pattern::MatchMapping(it) => it.rest.as_ref(),
            _ => None,
        };
        if let Some(name) = name {
            self.bind(name.as_str(), From::Unknown);
        }
        visitor::walk_pattern(self, pattern);
    }

    fn visit_type_param(&mut self, parameter: &'a ast::TypeParam) {
        self.bind(parameter.name().as_str(), From::Unknown);
        visitor::walk_type_param(self, parameter);
    }
}

impl<'a> Reader<'a> {
    fn annotated(&mut self, assignment: &'a ast::StmtAnnAssign) {
        if let Some(value) = &assignment.value {
            self.visit_expr(value);
        }
        // A function's own variables are annotated for readers only.
        if self.names.scopes[self.current].kind != ScopeKind::Function {
            self.visit_annotation(&assignment.annotation);
        }
        self.assign(&assignment.target, From::Annotation(&assignment.annotation));
    }

    fn import(&mut self, import: &'a ast::StmtImport) {
        for alias in &import.names {
            let name = alias.asname.as_ref().unwrap_or(&alias.name).as_str();
            self.bind(name.split('.').next().unwrap_or(name), From::Unknown);
        }
    }

    fn import_from(&mut self, import: &'a ast::StmtImportFrom) {
        for alias in &import.names {
            let name = alias.asname.as_ref().unwrap_or(&alias.name).as_str();
            if name == "*" {
                self.names.imports_all = true;
            } else {
                let module = import.module.as_deref().unwrap_or_default();
                let is_api = import.level == 0 && API_MODULES.contains(&module);
                self.bind(
                    name,
                    if is_api {
                        From::Api(alias.name.as_str())
                    } else {
                        From::Unknown
                    },
                );
            }
        }
    }

    /// Takes note of names that are those of another scope.
    fn declare(&mut self, names: &'a [ast::Identifier], kind: ScopeKind) {
        let elsewhere = &mut self.names.scopes[self.current].elsewhere;
        elsewhere.extend(names.iter().map(|name| (name.as_str(), kind)));
    }

    fn attempt(&mut self, attempt: &'a ast::StmtTry) {
        let guard = u32::from(!attempt.handlers.is_empty());
        self.guards += guard;
        self.visit_body(&attempt.body);
        self.guards -= guard;
        for handler in &attempt.handlers {
            self.visit_except_handler(handler);
        }
        self.visit_body(&attempt.orelse);
        self.visit_body(&attempt.finalbody);
    }

    fn attribute(&mut self, attribute: &'a ast::ExprAttribute) {
        if attribute.ctx == ExprContext::Load {
            let place = self.place(attribute);
            self.names.attributes.push(place);
            self.note_growth(attribute);
        } else {
            self.names.own_attributes.insert(attribute.attr.as_str());
        }
        match &*attribute.value {
            Expr::Name(name) if name.ctx == ExprContext::Load => {
                self.use_name(name, Some(attribute.attr.as_str()));
            }
            value => self.visit_expr(value),
        }
    }
}

/// The modules of the test API, and of nixpkgs' driver, from which its names are imported.
const API_MODULES: [&str; 2] = ["snowglobe", "test_driver.machine"];

/// `from __future__ import annotations`
fn is_lazy_import(statement: &Stmt) -> bool {
    let Stmt::ImportFrom(import) = statement else {
        return false;
    };
    let future = import.module.as_deref() == Some("__future__");
    future
        && import
            .names
            .iter()
            .any(|alias| alias.name.as_str() == "annotations")
}

/// Whether a context manager expects an exception.
fn suppresses(context: &Expr) -> bool {
    let Some(call) = context.as_call_expr() else {
        return false;
    };
    let name = match &*call.func {
        Expr::Name(name) => name.id.as_str(),
        Expr::Attribute(attribute) => attribute.attr.as_str(),
        _ => return false,
    };
    name == "suppress" || name == "raises" || name.starts_with("assertRaises")
}
