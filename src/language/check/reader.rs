//! Reads a script's tree: Python's scopes, what binds a name in them, and what is used where.

use rustpython_vm::compiler::ast::visitor::{self, Visitor};
use rustpython_vm::compiler::ast::{self, Expr, ExprContext, Pattern, Stmt};

use super::names::{Binding, From, Place, Scope, ScopeId, ScopeKind, ScriptNames, Use};

pub(super) fn read(suite: &[Stmt]) -> ScriptNames<'_> {
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

struct Reader<'a> {
    names: ScriptNames<'a>,
    current: ScopeId,
    /// How many statements around the current one catch what it may raise.
    guards: u32,
}

impl<'a> Reader<'a> {
    fn bind(&mut self, name: &'a str, from: From<'a>) {
        self.bind_in(self.current, name, from);
    }

    fn bind_in(&mut self, scope: ScopeId, name: &'a str, from: From<'a>) {
        let mut home = self.names.home(scope, name);
        // An enclosing function's: the next one outwards that has it.
        if self.names.scopes[scope].elsewhere.get(name) == Some(&ScopeKind::Function) {
            while !self.names.scopes[home].bindings.contains_key(name) {
                match self.names.scopes[home].parent {
                    Some(parent) => home = parent,
                    None => break,
                }
            }
        }
        let binding = Binding {
            from,
            scope: self.current,
        };
        let bindings = &mut self.names.scopes[home].bindings;
        bindings.entry(name).or_default().push(binding);
    }

    fn within(&mut self, kind: ScopeKind, work: impl FnOnce(&mut Self)) {
        let parent = self.current;
        self.names.scopes.push(Scope {
            kind,
            parent: Some(parent),
            ..Scope::default()
        });
        self.current = self.names.scopes.len() - 1;
        work(self);
        self.current = parent;
    }

    /// Binds what an assignment's target names.
    fn assign(&mut self, target: &'a Expr, from: From<'a>) {
        match (target, from) {
            (Expr::Name(name), _) => self.bind(name.id.as_str(), from),
            (Expr::Tuple(targets), From::ElementOf(Expr::Call(call))) => {
                let function = name(&call.func);
                let lists = &call.arguments.args;
                for (position, target) in targets.elts.iter().enumerate() {
                    let list = match function {
                        Some("enumerate") if position == 1 => lists.first(),
                        Some("zip") => lists.get(position),
                        _ => None,
                    };
                    self.assign(target, list.map_or(From::Unknown, From::ElementOf));
                }
            }
            (Expr::Tuple(targets), From::Value(Expr::Tuple(values)))
                if targets.elts.len() == values.elts.len()
                    && !targets.elts.iter().any(Expr::is_starred_expr) =>
            {
                for (target, value) in targets.elts.iter().zip(&values.elts) {
                    self.assign(target, From::Value(value));
                }
            }
            _ => self.visit_expr(target),
        }
    }

    /// Within a scope of its own if there are such parameters.
    fn with_type_parameters(
        &mut self,
        parameters: Option<&'a ast::TypeParams>,
        work: impl FnOnce(&mut Self),
    ) {
        match parameters {
            None => work(self),
            Some(parameters) => self.within(ScopeKind::Function, |reader| {
                reader.visit_type_params(parameters);
                work(reader);
            }),
        }
    }

    /// A function or lambda; `name` is that by which the script calls it.
    fn function(
        &mut self,
        name: Option<&'a str>,
        parameters: Option<&'a ast::Parameters>,
        work: impl FnOnce(&mut Self),
    ) {
        if let Some(parameters) = parameters {
            for parameter in parameters.iter_non_variadic_params() {
                if let Some(default) = parameter.default() {
                    self.visit_expr(default);
                }
            }
            for parameter in parameters {
                if let Some(annotation) = parameter.annotation() {
                    self.visit_annotation(annotation);
                }
            }
        }
        self.within(ScopeKind::Function, |reader| {
            let all = parameters.iter().flat_map(|parameters| parameters.iter());
            for (position, parameter) in all.enumerate() {
                let plain = !parameter.is_variadic() && parameter.default().is_none();
                let from = match (parameter.annotation(), name) {
                    (Some(annotation), _) if !parameter.is_variadic() => {
                        From::Annotation(annotation)
                    }
                    (None, Some(name)) if plain => From::Argument(name, position),
                    _ => From::Unknown,
                };
                reader.bind(parameter.name().as_str(), from);
            }
            work(reader);
        });
    }

    fn function_def(&mut self, function: &'a ast::StmtFunctionDef) {
        for decorator in &function.decorator_list {
            self.visit_decorator(decorator);
        }
        self.bind(function.name.as_str(), From::Unknown);
        let at_top = self.current == 0 && function.decorator_list.is_empty();
        // What is in a function is caught, or not, by who calls it.
        let guards = std::mem::take(&mut self.guards);
        self.with_type_parameters(function.type_params.as_deref(), |reader| {
            if let Some(returns) = &function.returns {
                reader.visit_annotation(returns);
            }
            let name = Some(function.name.as_str()).filter(|_| at_top);
            reader.function(name, Some(&function.parameters), |reader| {
                reader.visit_body(&function.body);
            });
        });
        self.guards = guards;
    }

    fn class_def(&mut self, class: &'a ast::StmtClassDef) {
        for decorator in &class.decorator_list {
            self.visit_decorator(decorator);
        }
        if let Some(arguments) = &class.arguments {
            self.visit_arguments(arguments);
        }
        self.bind(class.name.as_str(), From::Unknown);
        // A machine may be made one of this class.
        let members = class.body.iter().flat_map(members);
        self.names.own_attributes.extend(members);
        self.within(ScopeKind::Class, |reader| {
            if let Some(parameters) = &class.type_params {
                reader.visit_type_params(parameters);
            }
            reader.visit_body(&class.body);
        });
    }

    fn comprehension(&mut self, generators: &'a [ast::Comprehension], results: &[&'a Expr]) {
        let Some(first) = generators.first() else {
            return;
        };
        // The first is evaluated outside.
        self.visit_expr(&first.iter);
        self.within(ScopeKind::Comprehension, |reader| {
            for (position, generator) in generators.iter().enumerate() {
                if position > 0 {
                    reader.visit_expr(&generator.iter);
                }
                reader.assign(&generator.target, From::ElementOf(&generator.iter));
                for condition in &generator.ifs {
                    reader.visit_expr(condition);
                }
            }
            for result in results {
                reader.visit_expr(result);
            }
        });
    }

    /// The innermost scope that is not a comprehension's: `:=` binds there.
    fn function_scope(&self) -> ScopeId {
        let mut scope = self.current;
        while self.names.scopes[scope].kind == ScopeKind::Comprehension {
            scope = self.names.scopes[scope].parent.unwrap_or(0);
        }
        scope
    }

    fn place<T>(&self, node: &'a T) -> Place<'a, T> {
        Place {
            node,
            scope: self.current,
            guarded: self.guards > 0,
        }
    }

    /// A list that other things are put into is of no one type.
    fn note_growth(&mut self, attribute: &'a ast::ExprAttribute) {
        let grows = matches!(attribute.attr.as_str(), "append" | "extend" | "insert");
        if let Some(name) = attribute.value.as_name_expr().filter(|_| grows) {
            self.names.changing.insert(name.id.as_str());
        }
    }

    fn use_name(&mut self, name: &'a ast::ExprName, attribute: Option<&'a str>) {
        self.names.uses.push(Use {
            name: name.id.as_str(),
            range: name.range,
            scope: self.current,
            guarded: self.guards > 0,
            attribute,
        });
    }

    /// Attributes that a script gets or sets by name (`getattr`, `setattr`).
    fn note_own_attribute(&mut self, call: &'a ast::ExprCall) {
        let Expr::Name(function) = &*call.func else {
            return;
        };
        match (function.id.as_str(), call.arguments.args.get(1)) {
            ("hasattr" | "setattr" | "getattr", Some(Expr::StringLiteral(name))) => {
                self.names.own_attributes.insert(name.value.to_str());
            }
            ("globals" | "exec" | "locals" | "vars" | "dir", _) => self.names.dynamic = true,
            ("isinstance", _) => {
                let asked = call.arguments.args.first().and_then(Expr::as_name_expr);
                self.names
                    .changing
                    .extend(asked.map(|name| name.id.as_str()));
            }
            _ => {}
        }
    }
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
            Stmt::AnnAssign(assignment) => {
                if let Some(value) = &assignment.value {
                    self.visit_expr(value);
                }
                // A function's own variables are annotated for readers only.
                if self.names.scopes[self.current].kind != ScopeKind::Function {
                    self.visit_annotation(&assignment.annotation);
                }
                self.assign(&assignment.target, From::Annotation(&assignment.annotation));
            }
            Stmt::For(loop_) => {
                self.visit_expr(&loop_.iter);
                self.assign(&loop_.target, From::ElementOf(&loop_.iter));
                self.visit_body(&loop_.body);
                self.visit_body(&loop_.orelse);
            }
            Stmt::Import(import) => {
                for alias in &import.names {
                    let name = alias.asname.as_ref().unwrap_or(&alias.name).as_str();
                    self.bind(name.split('.').next().unwrap_or(name), From::Unknown);
                }
            }
            Stmt::ImportFrom(import) => {
                for alias in &import.names {
                    let name = alias.asname.as_ref().unwrap_or(&alias.name).as_str();
                    if name == "*" {
                        self.names.imports_all = true;
                    } else {
                        self.bind(name, From::Unknown);
                    }
                }
            }
            Stmt::Global(global) => {
                for name in &global.names {
                    let elsewhere = &mut self.names.scopes[self.current].elsewhere;
                    elsewhere.insert(name.as_str(), ScopeKind::Module);
                }
            }
            Stmt::Nonlocal(nonlocal) => {
                for name in &nonlocal.names {
                    let elsewhere = &mut self.names.scopes[self.current].elsewhere;
                    elsewhere.insert(name.as_str(), ScopeKind::Function);
                }
            }
            Stmt::Expr(expression) => {
                if let Expr::Attribute(attribute) = &*expression.value {
                    let place = self.place(attribute);
                    self.names.statements.push(place);
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
            Stmt::Try(attempt) => {
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
            Expr::Attribute(attribute) => {
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

/// The names that a statement of a class defines.
fn members(statement: &Stmt) -> Vec<&str> {
    match statement {
        Stmt::FunctionDef(function) => vec![function.name.as_str()],
        Stmt::AnnAssign(assignment) => name(&assignment.target).into_iter().collect(),
        Stmt::Assign(assignment) => assignment.targets.iter().filter_map(name).collect(),
        _ => Vec::new(),
    }
}

fn name(expression: &Expr) -> Option<&str> {
    expression.as_name_expr().map(|name| name.id.as_str())
}
