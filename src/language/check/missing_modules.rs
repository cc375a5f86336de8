//! Modules that a script imports and that are nowhere.

use std::collections::BTreeSet;

use ruff_text_size::{Ranged, TextRange};
use rustpython_vm::compiler::ast::Stmt;

use super::Finding;
use crate::suggestion::did_you_mean;

/// The modules of Python itself, as the interpreter names them (`sys.stdlib_module_names`), a line each.
const PYTHON_MODULES: &str = include_str!("python_modules.txt");

/// The packages of the test API, and of nixpkgs' driver.
const API_PACKAGES: [&str; 3] = ["_snowglobe", "snowglobe", "test_driver"];

/// Names by which a script may find modules elsewhere.
const OTHER_PLACES: [&str; 4] = ["sys.path", "sys.modules", "sys.meta_path", "importlib"];

/// Finds statements at the top of a script that import what is neither Python's nor among the modules `beside` the
/// test. Imports further inside may never be executed, or may be meant to fail.
pub(super) fn check(source: &str, suite: &[Stmt], beside: &BTreeSet<String>) -> Vec<Finding> {
    if OTHER_PLACES.iter().any(|word| source.contains(word)) {
        return Vec::new();
    }
    let imported = suite.iter().flat_map(imported_names);
    let missing = imported.filter_map(|(name, range)| {
        let package = name.split('.').next().unwrap_or(name);
        let known = |it: &str| it == package;
        let is_known = PYTHON_MODULES.lines().any(known)
            || API_PACKAGES.into_iter().any(known)
            || beside.contains(package);
        (!is_known).then(|| missing(package, range, beside))
    });
    missing.collect()
}

/// The modules that a statement imports, with their places.
fn imported_names(statement: &Stmt) -> Vec<(&str, TextRange)> {
    match statement {
        Stmt::Import(import) => {
            let names = import.names.iter();
            names
                .map(|alias| (alias.name.as_str(), alias.name.range()))
                .collect()
        }
        Stmt::ImportFrom(import) if import.level == 0 => {
            let module = import.module.iter();
            module
                .map(|module| (module.as_str(), module.range()))
                .collect()
        }
        _ => Vec::new(),
    }
}

fn missing(name: &str, range: TextRange, beside: &BTreeSet<String>) -> Finding {
    let message = format!(
        "there is no module `{name}`: it is not Python's own, not beside the test, and the test has no `extraPythonPackages`"
    );
    let candidates = beside
        .iter()
        .map(String::as_str)
        .chain(PYTHON_MODULES.lines());
    let range = range.start().to_usize()..range.end().to_usize();
    Finding::error("missing-module", message, range).with_help(did_you_mean(name, candidates))
}
