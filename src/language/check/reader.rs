//! The reader of a script's tree: scopes, the statements that bind a name, and uses of names.

use rustpython_vm::compiler::ast::visitor::Visitor;
use rustpython_vm::compiler::ast::{self, Expr, Stmt};

use super::names::{Binding, From, Occurrence, Scope, ScopeId, ScopeKind, ScriptNames, Use};

pub(super) struct Reader<'a> {
    pub names: ScriptNames<'a>,
    pub current: ScopeId,
    /// How many statements around the current one catch what it may raise.
    pub guards: u32,
}

impl<'a> Reader<'a> {
    pub fn bind(&mut self, name: &'a str, from: From<'a>) {
        self.bind_in(self.current, name, from);
    }

    pub fn bind_in(&mut self, scope: ScopeId, name: &'a str, from: From<'a>) {
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

    pub fn within(&mut self, kind: ScopeKind, work: impl FnOnce(&mut Self)) {
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
    pub fn assign(&mut self, target: &'a Expr, from: From<'a>) {
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
    pub fn with_type_parameters(
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
    pub fn function(
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

    pub fn function_def(&mut self, function: &'a ast::StmtFunctionDef) {
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

    pub fn class_def(&mut self, class: &'a ast::StmtClassDef) {
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

    pub fn comprehension(&mut self, generators: &'a [ast::Comprehension], results: &[&'a Expr]) {
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
    pub fn function_scope(&self) -> ScopeId {
        let mut scope = self.current;
        while self.names.scopes[scope].kind == ScopeKind::Comprehension {
            scope = self.names.scopes[scope].parent.unwrap_or(0);
        }
        scope
    }

    pub fn place<T>(&self, node: &'a T) -> Occurrence<'a, T> {
        Occurrence {
            node,
            scope: self.current,
            guarded: self.guards > 0,
        }
    }

    /// A list that other things are put into is of no one type.
    pub fn note_growth(&mut self, attribute: &'a ast::ExprAttribute) {
        let grows = matches!(attribute.attr.as_str(), "append" | "extend" | "insert");
        if let Some(name) = attribute.value.as_name_expr().filter(|_| grows) {
            self.names.changing.insert(name.id.as_str());
        }
    }

    pub fn use_name(&mut self, name: &'a ast::ExprName, attribute: Option<&'a str>) {
        self.names.uses.push(Use {
            name: name.id.as_str(),
            range: name.range,
            scope: self.current,
            guarded: self.guards > 0,
            attribute,
        });
    }

    /// Attributes that a script gets or sets by name (`getattr`, `setattr`).
    pub fn note_own_attribute(&mut self, call: &'a ast::ExprCall) {
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
