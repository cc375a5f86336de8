//! The test API as data: signatures, types and docstrings, read from its own Python.

use std::sync::LazyLock;

use ruff_text_size::Ranged;
use rustpython_vm::compiler::{ast, parser};

use super::API;

/// Everything a script can name, but for the machines and networks of a test.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vocabulary {
    pub functions: Vec<Function>,
    pub classes: Vec<Class>,
    /// Objects, by name, and their types.
    pub values: Vec<(String, String)>,
    /// Names of types, and what they stand for.
    pub aliases: Vec<(String, String)>,
    /// Other names, such as modules and `typing`'s.
    pub names: Vec<String>,
    /// Modules that scripts of 2020 use without importing them.
    pub implied_modules: Vec<String>,
}

/// A function, method or context manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub parameters: Vec<Parameter>,
    pub returns: String,
    pub doc: String,
    pub availability: Availability,
    pub context_manager: bool,
}

/// Whether nixpkgs' driver has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// nixpkgs' driver has it, too.
    Nixpkgs,
    /// nixpkgs' driver does not.
    Extension,
}

/// One parameter of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    pub kind: ParameterKind,
    pub annotation: String,
    pub default: Option<String>,
}

/// How arguments reach a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterKind {
    Positional,
    KeywordOnly,
    /// `*names`
    Rest,
    /// `**names`
    RestKeywords,
}

/// A class whose objects scripts meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    pub name: String,
    pub doc: String,
    /// The classes that it is made from, as Python writes them.
    pub bases: Vec<String>,
    pub methods: Vec<Function>,
    pub properties: Vec<Property>,
    /// Whether it has attributes that the table lacks.
    pub open: bool,
}

/// A property or attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    pub name: String,
    pub annotation: String,
    pub doc: String,
    pub settable: bool,
}

impl Vocabulary {
    /// The test API of this program.
    #[must_use]
    pub fn standard() -> &'static Self {
        static STANDARD: LazyLock<Vocabulary> = LazyLock::new(|| {
            let mut vocabulary = Vocabulary::default();
            for module in API {
                vocabulary.read(module.source);
            }
            vocabulary
        });
        &STANDARD
    }

    #[must_use]
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.name == name)
    }

    #[must_use]
    pub fn class(&self, name: &str) -> Option<&Class> {
        let name = self.resolve(name);
        self.classes.iter().find(|class| class.name == name)
    }

    /// The type of an object that is a word.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        let found = self.values.iter().find(|(value, _)| value == name);
        found.map(|(_, annotation)| annotation.as_str())
    }

    /// What an alias stands for, or the name itself.
    #[must_use]
    pub fn resolve<'a>(&'a self, name: &'a str) -> &'a str {
        let found = self.aliases.iter().find(|(alias, _)| alias == name);
        found.map_or(name, |(_, meaning)| meaning.as_str())
    }

    /// All names, for who looks for one.
    pub fn all_names(&self) -> impl Iterator<Item = &str> {
        let functions = self.functions.iter().map(|function| function.name.as_str());
        let classes = self.classes.iter().map(|class| class.name.as_str());
        let values = self.values.iter().map(|(name, _)| name.as_str());
        let aliases = self.aliases.iter().map(|(name, _)| name.as_str());
        let names = self.names.iter().map(String::as_str);
        functions
            .chain(classes)
            .chain(values)
            .chain(aliases)
            .chain(names)
    }

    fn read(&mut self, source: &str) {
        let parsed = parser::parse_module(source).expect("the test API is Python");
        let reader = ApiReader { source };
        for statement in parsed.suite() {
            match statement {
                ast::Stmt::FunctionDef(function) if is_public(&function.name) => {
                    self.functions.push(reader.function(function));
                }
                ast::Stmt::ClassDef(class) if is_public(&class.name) => {
                    self.classes.push(reader.class(class));
                }
                ast::Stmt::AnnAssign(assignment) => self.read_value(&reader, assignment),
                ast::Stmt::Assign(assignment) => self.read_alias(&reader, assignment),
                ast::Stmt::Import(import) => self.read_names(&import.names, |alias| {
                    // `import os as os` offers the module to others.
                    alias.asname.as_deref() == Some(alias.name.as_str())
                }),
                ast::Stmt::ImportFrom(import) if import.module.as_deref() == Some("typing") => {
                    self.read_names(&import.names, |alias| alias.name.as_str() != "TypeAlias");
                }
                _ => {}
            }
        }
    }

    fn read_names(&mut self, aliases: &[ast::Alias], offered: impl Fn(&ast::Alias) -> bool) {
        for alias in aliases.iter().filter(|alias| offered(alias)) {
            let name = alias.name.to_string();
            if !self.names.contains(&name) {
                self.names.push(name);
            }
        }
    }

    fn read_value(&mut self, reader: &ApiReader<'_>, assignment: &ast::StmtAnnAssign) {
        let name = reader.text(&*assignment.target);
        let annotation = reader.text(&*assignment.annotation);
        match &assignment.value {
            Some(value) if annotation == "TypeAlias" => {
                let meaning = reader.text(&**value).trim_matches('"').to_owned();
                self.aliases.push((name.to_owned(), meaning));
            }
            _ if is_public(name) => self.values.push((name.to_owned(), annotation.to_owned())),
            _ => {}
        }
    }

    /// `Other = Class` is another name for a class.
    fn read_alias(&mut self, reader: &ApiReader<'_>, assignment: &ast::StmtAssign) {
        let [target] = assignment.targets.as_slice() else {
            return;
        };
        let (name, meaning) = (reader.text(target), reader.text(&*assignment.value));
        if name == "_MODULES_OF_2020"
            && let ast::Expr::Tuple(modules) = &*assignment.value
        {
            let literals = modules
                .elts
                .iter()
                .filter_map(ast::Expr::as_string_literal_expr);
            self.implied_modules = literals.map(|module| module.value.to_string()).collect();
        }
        if is_public(name) && self.class(meaning).is_some() {
            self.aliases.push((name.to_owned(), meaning.to_owned()));
        }
    }
}

impl Class {
    #[must_use]
    pub fn method(&self, name: &str) -> Option<&Function> {
        self.methods.iter().find(|method| method.name == name)
    }

    #[must_use]
    pub fn property(&self, name: &str) -> Option<&Property> {
        self.properties
            .iter()
            .find(|property| property.name == name)
    }
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
        let availability = if decorated("_extension") {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_read_whole() {
        let vocabulary = Vocabulary::standard();
        let machine = vocabulary.class("QemuMachine").unwrap();
        let succeed = machine.method("succeed").unwrap();
        let kinds: Vec<ParameterKind> = succeed.parameters.iter().map(|p| p.kind).collect();
        assert_eq!(
            kinds[..2],
            [ParameterKind::Rest, ParameterKind::KeywordOnly]
        );
        assert_eq!(succeed.returns, "str");
        assert!(machine.property("connected").unwrap().settable);
        assert_eq!(
            machine.method("expect").unwrap().availability,
            Availability::Extension
        );
        assert_eq!(vocabulary.value("machines"), Some("list[Machine]"));
        assert!(vocabulary.function("deadline").unwrap().context_manager);
        assert!(vocabulary.class("Assertions").unwrap().open);
        assert!(vocabulary.all_names().any(|name| name == "os"));
        assert!(!vocabulary.all_names().any(|name| name == "contextlib"));
        assert!(vocabulary.implied_modules.iter().any(|name| name == "re"));
    }

    #[test]
    fn every_member_has_a_docstring() {
        let vocabulary = Vocabulary::standard();
        for class in &vocabulary.classes {
            let members = class
                .methods
                .iter()
                .map(|method| (&method.name, &method.doc));
            let properties = class.properties.iter().map(|one| (&one.name, &one.doc));
            for (name, doc) in members.chain(properties) {
                let dunder = name.starts_with("__");
                assert!(dunder || !doc.is_empty(), "{}.{name}", class.name);
            }
        }
        for function in &vocabulary.functions {
            assert!(!function.doc.is_empty(), "{}", function.name);
        }
    }
}
