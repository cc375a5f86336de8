//! The tests of a file, as it was evaluated last.

use std::collections::BTreeMap;

use crate::language::check::{Parts, TestContext, Toggle};
use crate::model::manifest::{Manifest, only_machine_name, python_name};
use crate::nix_cli::Test;
use crate::source_map::{EvaluatedText, NodePlace};

/// The tests of a file.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownTests {
    pub text: EvaluatedText,
    tests: Vec<KnownTest>,
}

#[derive(Debug, Clone)]
struct KnownTest {
    attribute: String,
    manifest: Manifest,
}

/// The facts on the tests of a script, for those who check it or help to write it.
#[derive(Debug, Clone)]
pub(super) struct ScriptFacts {
    pub context: TestContext,
    /// The systemd units by machine.
    pub units: BTreeMap<String, Vec<String>>,
    pub parts: Parts,
    /// The attribute path of the only test that has the script; empty for the file's value.
    pub attribute: Option<String>,
    /// The manifest of the only test.
    pub manifest: Option<Manifest>,
}

impl KnownTests {
    /// The tests of a file that had a text when it was evaluated.
    pub fn new(nix: String, tests: Vec<Test>) -> Self {
        let (scripts, tests) = tests
            .into_iter()
            .map(|test| {
                let known = KnownTest {
                    attribute: test.attribute,
                    manifest: test.manifest,
                };
                (test.script, known)
            })
            .unzip();
        Self {
            text: EvaluatedText { nix, scripts },
            tests,
        }
    }

    /// The tests at some positions, or all tests if there are none.
    fn at(&self, positions: &[usize]) -> Vec<&KnownTest> {
        let chosen: Vec<&KnownTest> = positions
            .iter()
            .filter_map(|position| self.tests.get(*position))
            .collect();
        if chosen.is_empty() {
            self.tests.iter().collect()
        } else {
            chosen
        }
    }

    /// Returns the facts on the tests at some positions, with the nodes that are written by now.
    pub fn facts(&self, positions: &[usize], written: &[NodePlace]) -> ScriptFacts {
        let tests = self.at(positions);
        let mut facts = ScriptFacts {
            context: TestContext::default(),
            units: BTreeMap::new(),
            parts: Parts::ALL,
            attribute: None,
            manifest: None,
        };
        if tests.is_empty() {
            return facts;
        }
        let mut machines: Vec<String> = Vec::new();
        let mut vlans = Vec::new();
        for KnownTest { manifest, .. } in &tests {
            let of_test = TestContext::of(manifest);
            machines.extend(of_test.machines.into_iter().flatten());
            facts.context.further_names.extend(of_test.further_names);
            facts.context.containers.extend(of_test.containers);
            let only = only_machine_name(manifest.nodes.len()).map(str::to_owned);
            facts.context.further_names.extend(only);
            vlans.extend(&manifest.vlans);
            let units = manifest.nodes.iter();
            facts
                .units
                .extend(units.map(|(name, node)| (python_name(name), node.units.clone())));
            let parts = Parts::of(manifest);
            if parts.lint == Toggle::Off {
                facts.parts.lint = Toggle::Off;
            }
            if parts.types == Toggle::Off {
                facts.parts.types = Toggle::Off;
            }
        }
        machines.extend(written.iter().map(|node| python_name(&node.name)));
        machines.sort();
        machines.dedup();
        facts.context.machines = Some(machines);
        facts.context.vlans = Some(vlans);
        if let [test] = tests[..] {
            facts.attribute = Some(test.attribute.clone());
            facts.manifest = Some(test.manifest.clone());
        }
        facts
    }
}
