//! Names that a script imports from the modules beside its test.

use ruff_text_size::Ranged;
use rustpython_vm::compiler::ast::visitor::{self, Visitor};
use rustpython_vm::compiler::ast::{self, Stmt};

use super::Finding;
use super::module_names::ModuleNames;
use super::types::Scene;
use crate::suggestion::did_you_mean;

/// Finds names that modules do not have.
pub(super) fn check(suite: &[Stmt], scene: &Scene<'_, '_>) -> Vec<Finding> {
    let mut reader = Reader {
        scene,
        aliases: Vec::new(),
        findings: Vec::new(),
    };
    reader.visit_body(suite);
    let Reader {
        aliases,
        mut findings,
        ..
    } = reader;
    for occurrence in &scene.names.attributes {
        let node = occurrence.node;
        let Some(name) = node.value.as_name_expr().map(|name| name.id.as_str()) else {
            continue;
        };
        let Some((_, module)) = aliases.iter().find(|(alias, _)| *alias == name) else {
            continue;
        };
        // A name with a second value is not the module alone.
        let bindings = scene.names.bindings(occurrence.scope, name);
        let is_module = bindings.is_some_and(|bindings| bindings.len() == 1);
        let own = scene.names.own_attributes.contains(node.attr.as_str());
        if is_module && !own {
            let range = node.attr.range();
            let missing = missing(scene, module, node.attr.as_str());
            let missing = missing.map(|finding| finding.at(range.into()));
            findings.extend(missing.map(|it| {
                if occurrence.guarded {
                    it.softened()
                } else {
                    it
                }
            }));
        }
    }
    findings
}

struct Reader<'s, 'v, 'a> {
    scene: &'s Scene<'v, 'a>,
    /// Names in the script, each with the module that it means.
    aliases: Vec<(String, String)>,
    findings: Vec<Finding>,
}

impl<'a> Visitor<'a> for Reader<'_, '_, '_> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::Import(import) => {
                let plain = import
                    .names
                    .iter()
                    .filter(|alias| !alias.name.contains('.'));
                self.aliases.extend(plain.map(|alias| {
                    let name = alias.asname.as_ref().unwrap_or(&alias.name);
                    (name.to_string(), alias.name.to_string())
                }));
            }
            Stmt::ImportFrom(import) if import.level == 0 => self.read_from(import),
            other => visitor::walk_stmt(self, other),
        }
    }
}

impl Reader<'_, '_, '_> {
    fn read_from(&mut self, import: &ast::StmtImportFrom) {
        let Some(module) = &import.module else { return };
        for alias in import
            .names
            .iter()
            .filter(|alias| alias.name.as_str() != "*")
        {
            let missing = missing(self.scene, module.as_str(), alias.name.as_str());
            let range = alias.name.range();
            self.findings
                .extend(missing.map(|finding| finding.at(range.into())));
        }
    }
}

/// Returns a finding if a module beside the test has no such name.
fn missing(scene: &Scene<'_, '_>, module: &str, name: &str) -> Option<Finding> {
    let ModuleNames(Some(names)) = scene.module(module)? else {
        return None;
    };
    let is_dunder = name.starts_with("__");
    // A module in a package is one of its names.
    let submodule = scene.module(&format!("{module}.{name}"));
    if is_dunder || names.contains(name) || submodule.is_some() {
        return None;
    }
    let message = format!("the module `{module}` has no `{name}`");
    let help = did_you_mean(name, names.iter().map(String::as_str));
    Some(Finding::error("unknown-import", message, 0..0).with_help(help))
}
