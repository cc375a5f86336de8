//! A test that was found and evaluated, or the reason why it does not evaluate.

use super::error::RunnerError;
use super::project::Project;
use super::request::TestSelection;
use crate::model::manifest::{BackendKind, Manifest, Node};
use crate::model::outcome::TestResult;
use crate::nix_cli::TestNames;

/// A test of a selection, or why it does not evaluate.
#[derive(Debug)]
pub(super) struct FoundTest<'a, T> {
    pub selection: &'a TestSelection,
    /// The name of the test among all chosen ones.
    pub label: String,
    pub names: TestNames,
    pub test: Result<T, RunnerError>,
}

impl<T> FoundTest<'_, T> {
    /// Returns how long it takes if it passes, in seconds.
    pub fn expected_s(&self, project: &Project) -> Option<f64> {
        project.expected_s(&self.selection.source, &self.names.attribute)
    }

    /// Returns the name for the output folder.
    pub fn name(&self) -> &str {
        output_name(&self.names, &self.label)
    }

    /// Returns the result of the test if it is left out.
    pub fn left_out(&self) -> TestResult {
        left_out(self.selection, &self.label, &self.names)
    }
}

/// Returns the name of a test for its output folder.
pub(super) fn output_name<'a>(names: &'a TestNames, label: &'a str) -> &'a str {
    if names.name.is_empty() {
        label
    } else {
        &names.name
    }
}

/// Returns the result of a test that has not ended yet: as long as nothing else is known, it was left out.
pub(super) fn left_out(selection: &TestSelection, label: &str, names: &TestNames) -> TestResult {
    TestResult {
        label: label.to_owned(),
        source: selection.source.clone(),
        attribute: names.attribute.clone(),
        name: names.name.clone(),
        ..TestResult::default()
    }
}

/// Returns the kind of a test's machines: `vm`, `container` or `mixed`; `None` without machines.
pub(super) fn backend(manifest: &Manifest) -> Option<&'static str> {
    let kinds = manifest.nodes.values().filter_map(Node::kind);
    let (containers, machines): (Vec<BackendKind>, _) =
        kinds.partition(|kind| *kind == BackendKind::Container);
    match (containers.is_empty(), machines.is_empty()) {
        (true, true) => None,
        (true, false) => Some("vm"),
        (false, true) => Some("container"),
        (false, false) => Some("mixed"),
    }
}
