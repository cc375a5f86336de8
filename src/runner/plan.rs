//! Evaluates tests and checks them, before anything is built.

use super::error::RunnerError;
use super::frontend::Frontend;
use super::interrupts::Interrupts;
use super::request::{ScriptCheck, TestSelection};
use crate::language::check::{self, Parts, Severity, TestContext};
use crate::model::manifest::Manifest;
use crate::nix_cli::{self, Test};
use crate::source_map::SourceMap;

/// Evaluates the tests; None if the user interrupts.
pub(super) async fn evaluate(
    selection: &TestSelection,
    interrupts: &mut Interrupts,
) -> Result<Option<Vec<Test>>, RunnerError> {
    let work = nix_cli::evaluate(&selection.nix, &selection.library, &selection.evaluation);
    tokio::select! {
        tests = work => Ok(Some(tests?)),
        _ = interrupts.recv() => Ok(None),
    }
}

/// Checks the script of a test and shows what is found.
///
/// # Errors
/// When the check finds an error.
pub(super) fn check(
    label: &str,
    source_map: &SourceMap,
    manifest: &Manifest,
    script_check: ScriptCheck,
    frontend: &dyn Frontend,
) -> Result<(), RunnerError> {
    let parts = match script_check {
        ScriptCheck::SyntaxOnly => Parts::NONE,
        ScriptCheck::AsConfigured => Parts::of(manifest),
    };
    let context = TestContext::of(manifest);
    let mut findings = check::check(source_map.script(), &context, parts);
    // Notes are for who asks for a check.
    findings.retain(|finding| finding.level > Severity::Note);
    frontend.show_findings(&findings, source_map);
    if check::stops(&findings) {
        return Err(RunnerError::Findings {
            test: label.to_owned(),
            findings: check::count(&findings),
        });
    }
    Ok(())
}
