//! The names of a script that nothing binds, and what may be meant by them.

use super::names::Use;
use super::types::Scene;
use super::{Finding, python};
use crate::suggestion::did_you_mean;

/// Names that nothing binds.
pub(super) fn unknown_names(scene: &Scene<'_, '_>) -> Vec<Finding> {
    if scene.names.imports_all {
        // Any name may be one of those.
        return Vec::new();
    }
    scene
        .names
        .uses
        .iter()
        .filter(|used| scene.names.bindings(used.scope, used.name).is_none())
        .filter(|used| !python::is_builtin(used.name) && !scene.is_word(used.name))
        .map(|used| unknown_finding(used, scene))
        .collect()
}

fn unknown_finding(used: &Use<'_>, scene: &Scene<'_, '_>) -> Finding {
    let range = used.range.start().to_usize()..used.range.end().to_usize();
    if scene.is_implied_module(used.name) {
        let message = format!("`{}` is used without an import", used.name);
        let help = Some(format!(
            "only nixpkgs 20.09 provides it: import {}",
            used.name
        ));
        return Finding::warning("missing-import", message, range).with_help(help);
    }
    let as_machine = !scene.is_of_module()
        && used
            .attribute
            .is_some_and(|name| scene.is_machine_member(name));
    let (code, message) = if as_machine {
        (
            "unknown-machine",
            format!("there is no machine `{}`", used.name),
        )
    } else {
        (
            "unknown-name",
            format!("the name `{}` is not known", used.name),
        )
    };
    let scopes = scene.names.scopes.iter();
    let own: Vec<&str> = scopes
        .flat_map(|scope| scope.bindings.keys().copied())
        .collect();
    let known: Vec<&str> = if scene.is_of_module() {
        Vec::new()
    } else {
        scene.names().collect()
    };
    let help = did_you_mean(used.name, [known, own, python::builtins()].concat()).or_else(|| {
        if scene.is_of_module() && scene.is_name_of_scripts(used.name) {
            let name = used.name;
            return Some(format!(
                "scripts have it, modules import it: from snowglobe import {name}"
            ));
        }
        let nodes = scene.machines().filter(|_| as_machine)?;
        Some(format!("the test's machines are: {}", nodes.join(", ")))
    });
    let finding = Finding::error(code, message, range).with_help(help);
    if scene.names.dynamic || used.guarded {
        finding.softened()
    } else {
        finding
    }
}
