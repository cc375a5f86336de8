//! The test API as data: signatures, types and docstrings.

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
    /// Modules that scripts of nixpkgs 20.09 use without importing them.
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

    /// Returns the name that an alias stands for, or the name itself.
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
