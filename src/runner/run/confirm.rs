//! A test that has failed as containers, once more as virtual machines, whose verdict counts.

use super::checked_test::CheckedTest;
use super::ends::TestEnd;
use crate::digest::Digest;
use crate::model::manifest::{BackendChoice, BackendKind};
use crate::model::outcome::{Outcome, TestResult};
use crate::nix_cli::{Evaluation, Test};
use crate::runner::error::RunnerError;
use crate::runner::find_tests::evaluate_these;

/// The obstacle of machines that have failed as containers.
const FAILED: &str = "what has just failed";

/// Whether Snowglobe has chosen all containers of a test.
pub(super) fn is_of_chosen_containers(test: &Test) -> bool {
    let nodes = test.manifest.nodes.values();
    let containers = nodes.filter(|node| node.kind() == Some(BackendKind::Container));
    !test.chosen_containers.is_empty()
        && containers.count() == test.chosen_containers.len()
        && test.manifest.containers.is_empty()
}

/// The identity of a test's machines and script: a failure as containers is remembered as long as both stay as they are.
pub(super) fn identity(test: &Test) -> String {
    let mut digest = Digest::default();
    digest.field(test.derivation.as_os_str().as_encoded_bytes());
    digest.field(&test.script);
    digest.name()
}

/// Evaluates a test with virtual machines in the place of its containers; `None` if it is not there any more.
///
/// # Errors
/// Returns an error if it does not evaluate.
pub(super) async fn as_virtual_machines(
    test: &CheckedTest<'_, Test>,
) -> Result<Option<Test>, RunnerError> {
    let attribute = &test.names.attribute;
    let evaluation = Evaluation {
        // A file that is the test itself has no path.
        chosen: match attribute.as_str() {
            "" => Vec::new(),
            path => vec![path.to_owned()],
        },
        backend: Some(BackendChoice::Vm),
        parts: Vec::new(),
        ..test.selection.evaluation.clone()
    };
    let found = evaluate_these(test.selection, &evaluation).await?;
    let mut found = found.into_iter();
    let mut found = found.find(|found| found.attribute == *attribute);
    // No message is to propose containers again.
    for node in found
        .iter_mut()
        .flat_map(|test| test.manifest.nodes.values_mut())
    {
        node.container_obstacles = Some(vec![FAILED.to_owned()]);
    }
    Ok(found)
}

/// Returns the end of a test by its end as containers, and that as virtual machines.
pub(super) fn both(as_containers: TestEnd, as_vms: TestEnd, identity: &str) -> TestEnd {
    let outcome = as_vms.result.outcome;
    if matches!(outcome, Outcome::NotRun | Outcome::LeftOut | Outcome::Error) {
        return as_containers;
    }
    let first = as_containers.result;
    TestEnd {
        result: TestResult {
            started_s: first.started_s,
            duration_s: first.duration_s + as_vms.result.duration_s,
            attempts: [first.attempts, as_vms.result.attempts].concat(),
            leaky: first.leaky || as_vms.result.leaky,
            slow: first.slow || as_vms.result.slow,
            not_as_containers: (outcome == Outcome::Passed).then(|| identity.to_owned()),
            ..as_vms.result
        },
        error: None,
    }
}
