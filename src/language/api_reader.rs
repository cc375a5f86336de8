//! Reads the test API's own Python: what is defined there is the table.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use ruff_text_size::Ranged;
use rustpython_vm::compiler::{ast, parser};

use super::API;
use super::vocabulary::{
    Availability, Class, Function, Parameter, ParameterKind, Property, Vocabulary,
};

impl Vocabulary {
    /// The test API of this program.
    #[must_use]
    pub fn standard() -> &'static Self {
        static STANDARD: LazyLock<Vocabulary> = LazyLock::new(|| {
            let mut vocabulary = Vocabulary::default();
            vocabulary.read_package();
            vocabulary
        });
        &STANDARD
    }

    /// Reads a package: what its `__init__` imports is what scripts can name.
    fn read_package(&mut self) {
        let source = |name: &str| {
            let module = API.get_file(format!("{name}.py"));
            let source = module.and_then(|module| module.contents_utf8());
            source.expect("the package has the module")
        };
        let parsed = parse(source("__init__"));
        for statement in parsed.suite() {
            match statement {
                ast::Stmt::Import(import) => self.read_names(&import.names),
                ast::Stmt::ImportFrom(import) => match import.module.as_deref() {
                    Some("typing") => self.read_names(&import.names),
                    Some(module) if import.level == 1 => {
                        let names = import.names.iter().map(|alias| alias.name.to_string());
                        self.read_module(source(module), &names.collect());
                    }
                    _ => {}
                },
                _ => {}
            }
        }
        self.implied_modules = implied_modules(source("script"));
    }

    /// Reads the definitions of some names.
    fn read_module(&mut self, source: &str, names: &BTreeSet<String>) {
        let parsed = parse(source);
        let reader = ApiReader { source };
        for statement in parsed.suite() {
            match statement {
                ast::Stmt::FunctionDef(function) if names.contains(function.name.as_str()) => {
                    self.functions.push(reader.function(function));
                }
                ast::Stmt::ClassDef(class) if names.contains(class.name.as_str()) => {
                    self.classes.push(reader.class(class));
                }
                ast::Stmt::AnnAssign(assignment) => self.read_value(&reader, assignment, names),
                ast::Stmt::Assign(assignment) => self.read_alias(&reader, assignment, names),
                _ => {}
            }
        }
    }

    fn read_names(&mut self, aliases: &[ast::Alias]) {
        self.names
            .extend(aliases.iter().map(|alias| alias.name.to_string()));
    }

    fn read_value(
        &mut self,
        reader: &ApiReader<'_>,
        assignment: &ast::StmtAnnAssign,
        names: &BTreeSet<String>,
    ) {
        let name = reader.text(&*assignment.target);
        if !names.contains(name) {
            return;
        }
        let annotation = reader.text(&*assignment.annotation);
        match &assignment.value {
            Some(value) if annotation == "TypeAlias" => {
                let meaning = reader.text(&**value).trim_matches('"').to_owned();
                self.aliases.push((name.to_owned(), meaning));
            }
            _ => self.values.push((name.to_owned(), annotation.to_owned())),
        }
    }

    /// `Other = Class` is another name for a class.
    fn read_alias(
        &mut self,
        reader: &ApiReader<'_>,
        assignment: &ast::StmtAssign,
        names: &BTreeSet<String>,
    ) {
        let [target] = assignment.targets.as_slice() else {
            return;
        };
        let (name, meaning) = (reader.text(target), reader.text(&*assignment.value));
        if names.contains(name) && self.class(meaning).is_some() {
            self.aliases.push((name.to_owned(), meaning.to_owned()));
        }
    }
}

fn parse(source: &str) -> parser::Parsed<ast::ModModule> {
    parser::parse_module(source).expect("the test API is Python")
}

/// The modules that scripts of nixpkgs 20.09 use without importing them.
fn implied_modules(source: &str) -> Vec<String> {
    let parsed = parse(source);
    let assignments = parsed.suite().iter().filter_map(ast::Stmt::as_assign_stmt);
    let mut tuples = assignments
        .filter(|assignment| {
            let targets = assignment.targets.iter();
            let mut names = targets.filter_map(ast::Expr::as_name_expr);
            names.any(|name| name.id.as_str() == "MODULES_OF_NIXPKGS_20_09")
        })
        .filter_map(|assignment| assignment.value.as_tuple_expr());
    let modules = tuples.next().map(|tuple| tuple.elts.as_slice());
    let literals = modules.unwrap_or_default().iter();
    literals
        .filter_map(ast::Expr::as_string_literal_expr)
        .map(|module| module.value.to_string())
        .collect()
}

struct ApiReader<'a> {
    source: &'a str,
}

impl<'a> ApiReader<'a> {
    fn text(&self, node: &impl Ranged) -> &'a str {
        &self.source[node.range()]
    }

    fn function(&self, function: &ast::StmtFunctionDef) -> Function {
        let decorated = |name: &str| {
            let mut decorators = function.decorator_list.iter();
            decorators.any(|decorator| self.text(&decorator.expression) == name)
        };
        let availability = if decorated("extension") {
            Availability::Extension
        } else {
            Availability::Nixpkgs
        };
        Function {
            name: function.name.to_string(),
            parameters: self.parameters(&function.parameters),
            returns: self.annotation(function.returns.as_deref()),
            doc: doc(&function.body),
            availability,
            context_manager: decorated("contextlib.contextmanager"),
        }
    }

    fn parameters(&self, parameters: &ast::Parameters) -> Vec<Parameter> {
        let one = |parameter: &ast::Parameter, kind, default: Option<&ast::Expr>| Parameter {
            name: parameter.name.to_string(),
            kind,
            annotation: self.annotation(parameter.annotation()),
            default: default.map(|default| self.text(default).to_owned()),
        };
        let with_default = |kind| {
            move |parameter: &ast::ParameterWithDefault| {
                one(&parameter.parameter, kind, parameter.default())
            }
        };
        let positional = parameters.posonlyargs.iter().chain(&parameters.args);
        let rest = parameters.vararg.iter();
        let keyword_only = parameters.kwonlyargs.iter();
        let rest_keywords = parameters.kwarg.iter();
        positional
            .map(with_default(ParameterKind::Positional))
            .chain(rest.map(|parameter| one(parameter, ParameterKind::Rest, None)))
            .chain(keyword_only.map(with_default(ParameterKind::KeywordOnly)))
            .chain(rest_keywords.map(|parameter| one(parameter, ParameterKind::RestKeywords, None)))
            .filter(|parameter| parameter.name != "self")
            .collect()
    }

    fn annotation(&self, annotation: Option<&ast::Expr>) -> String {
        annotation.map_or("Any", |expr| self.text(expr)).to_owned()
    }

    fn class(&self, class: &ast::StmtClassDef) -> Class {
        let mut read = Class {
            name: class.name.to_string(),
            doc: doc(&class.body),
            bases: class
                .arguments
                .iter()
                .flat_map(|arguments| &arguments.args)
                .map(|base| self.text(base).to_owned())
                .collect(),
            methods: Vec::new(),
            properties: Vec::new(),
            // It has what its bases have.
            open: class.arguments.is_some(),
        };
        for (index, statement) in class.body.iter().enumerate() {
            match statement {
                ast::Stmt::FunctionDef(function) => self.member(&mut read, function),
                ast::Stmt::AnnAssign(attribute) => read.properties.push(Property {
                    name: self.text(&*attribute.target).to_owned(),
                    annotation: self.text(&*attribute.annotation).to_owned(),
                    // The string below an attribute is its docstring (PEP 257).
                    doc: doc(&class.body[index + 1..]),
                    settable: true,
                }),
                // `other = method`
                ast::Stmt::Assign(assignment) => {
                    let names = assignment.targets.iter().map(|target| self.text(target));
                    if let Some(method) = read.method(self.text(&*assignment.value)).cloned() {
                        read.methods.extend(names.map(|name| Function {
                            name: name.to_owned(),
                            ..method.clone()
                        }));
                    }
                }
                _ => {}
            }
        }
        read
    }

    fn member(&self, class: &mut Class, function: &ast::StmtFunctionDef) {
        let decorators: Vec<&str> = function
            .decorator_list
            .iter()
            .map(|decorator| self.text(&decorator.expression))
            .collect();
        let name = function.name.as_str();
        if name == "__getattr__" {
            class.open = true;
        } else if decorators.contains(&"property") {
            class.properties.push(Property {
                name: name.to_owned(),
                annotation: self.annotation(function.returns.as_deref()),
                doc: doc(&function.body),
                settable: false,
            });
        } else if decorators.iter().any(|text| text.ends_with(".setter")) {
            for property in &mut class.properties {
                property.settable |= property.name == name;
            }
        } else if is_public(name) || matches!(name, "__enter__" | "__exit__" | "__call__") {
            class.methods.push(self.function(function));
        }
    }
}

fn is_public(name: &str) -> bool {
    !name.starts_with('_')
}

/// The docstring at the start of some statements, as one line.
fn doc(body: &[ast::Stmt]) -> String {
    let Some(ast::Stmt::Expr(statement)) = body.first() else {
        return String::new();
    };
    let ast::Expr::StringLiteral(text) = &*statement.value else {
        return String::new();
    };
    let words: Vec<&str> = text.value.to_str().split_whitespace().collect();
    words.join(" ")
}
