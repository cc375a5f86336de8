//! The data of a run that the test API creates its objects from.

use std::collections::HashSet;
use std::iter;

use serde_json::{Value, json};

use super::input::Script;
use super::stepping::subtests_of;
use crate::language::Vocabulary;
use crate::language::check::implied_modules;
use crate::model::manifest::{only_machine_name, python_name};
use crate::replay::Replay;

/// The data that the API creates its objects from.
pub(super) fn describe_session(script: &Script, replay: &Replay) -> Value {
    let host = replay.host();
    let machines = host.machines();
    let only = only_machine_name(machines.len());
    // A node's own name always means that node.
    let of_nodes: HashSet<String> = machines.keys().map(|node| python_name(node)).collect();
    let machines: Vec<Value> = machines
        .iter()
        .map(|(node, machine)| {
            let host_name = Some(python_name(machine.name()));
            let host_name = host_name.filter(|name| !of_nodes.contains(name));
            let only = only.map(str::to_owned);
            let names: Vec<String> = iter::once(python_name(node))
                .chain(host_name)
                .chain(only)
                .collect();
            json!({
                "node": node,
                "name": machine.name(),
                "python_names": names,
                "state_dir": machine.state_folder().display().to_string(),
                "backend": machine.backend_kind().name(),
            })
        })
        .collect();
    json!({
        "machines": machines,
        "vlans": host.vlans,
        "out_dir": host.output_folder.display().to_string(),
        "shared_dir": host.shared_folder.display().to_string(),
        "python_packages": script.python_packages,
        "answers": script.answers,
        "stop": script.stop,
        "subtests": script.stop.map(|_| subtests_of(script.source_map.script())),
        "source_lines": script.stop.map(|_| script.source_map.lines()),
        "timeout_factor": script.timeout_factor,
        "remembers": replay.remembers(),
        "seed": host.seed.number(),
        "given_seed": host.seed.given(),
        "modules": implied_modules(script.source_map.script(), Vocabulary::standard()),
    })
}
