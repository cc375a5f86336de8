//! Evaluates tests and checks them, before anything is built.

use std::path::PathBuf;

use super::error::RunnerError;
use super::frontend::Frontend;
use super::interrupts::Interrupts;
use super::request::{ScriptCheck, TestSelection};
use crate::guest;
use crate::language::check::{self, Parts, Severity, TestContext};
use crate::model::manifest::Manifest;
use crate::nix_cli::{self, EvalError, NamedDerivation, PackageSource, Test};
use crate::session::decide_backends;
use crate::source_map::SourceMap;

/// Evaluates the tests; None if the user interrupts.
pub(super) async fn evaluate(
    selection: &TestSelection,
    interrupts: &mut Interrupts,
) -> Result<Option<Vec<Test>>, RunnerError> {
    let work = nix_cli::evaluate(&selection.nix, &selection.library, &selection.evaluation);
    let found = with_packages(selection, work, |test| &test.derivation, interrupts).await?;
    Ok(found.map(|tests| tests.into_iter().map(decided).collect()))
}

/// The test with what its machines are.
fn decided(mut test: Test) -> Test {
    test.notes = decide_backends(&mut test.manifest, &test.script);
    test
}

/// Evaluates what builds the tests, or a derivation; None if the user interrupts.
pub(super) async fn buildable(
    selection: &TestSelection,
    interrupts: &mut Interrupts,
) -> Result<Option<Vec<NamedDerivation>>, RunnerError> {
    let work = nix_cli::buildable(&selection.nix, &selection.library, &selection.evaluation);
    with_packages(selection, work, |found| &found.derivation, interrupts).await
}

/// What an evaluation gives, whose packages are there.
async fn with_packages<T>(
    selection: &TestSelection,
    work: impl Future<Output = Result<Vec<T>, EvalError>>,
    derivation: impl Fn(&T) -> &PathBuf,
    interrupts: &mut Interrupts,
) -> Result<Option<Vec<T>>, RunnerError> {
    let found = tokio::select! {
        found = work => found?,
        _ = interrupts.recv() => return Ok(None),
    };
    if selection.evaluation.packages != PackageSource::Nixpkgs {
        let derivations: Vec<PathBuf> = found.iter().map(derivation).cloned().collect();
        check_packages(&derivations)?;
    }
    Ok(Some(found))
}

/// Checks that Debian's packages are there: no build could bring them.
fn check_packages(derivations: &[PathBuf]) -> Result<(), RunnerError> {
    let missing = guest::missing_packages(derivations)?;
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = missing.into_iter().collect();
    Err(guest::Error::NotFetched(names.join(", ")).into())
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
