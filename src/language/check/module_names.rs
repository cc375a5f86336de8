//! The names that a module defines.

use std::collections::BTreeSet;

use rustpython_vm::compiler::parser;

use super::tree_walk;

/// The names that a module defines; `None` if it may define others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleNames(pub(super) Option<BTreeSet<String>>);

/// Returns the names of a module with this text.
#[must_use]
pub fn names_of_module(source: &str) -> ModuleNames {
    let Ok(parsed) = parser::parse_module(source) else {
        return ModuleNames(None);
    };
    let names = tree_walk::read(parsed.suite());
    let Some(module) = names.scopes.first() else {
        return ModuleNames(None);
    };
    // Assigned by `global`, or made by a function when they are asked for.
    let is_open = names.imports_all
        || names.dynamic
        || module.bindings.contains_key("__getattr__")
        || names.scopes.iter().any(|scope| !scope.elsewhere.is_empty());
    let own = module.bindings.keys().map(|name| (*name).to_owned());
    ModuleNames((!is_open).then(|| own.collect()))
}
