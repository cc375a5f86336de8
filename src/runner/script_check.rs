//! Checks the script of a test before anything is built.

use super::error::RunnerError;
use super::findings::show_finding;
use super::frontend::Frontend;
use super::request::ScriptCheck;
use crate::language::check::{self, Parts, Severity, TestContext};
use crate::model::manifest::Manifest;
use crate::report::Colours;
use crate::source_map::SourceMap;

/// Checks the script of a test and shows what is found.
///
/// # Errors
/// Returns an error if the check finds an error.
pub(super) fn check_script_of(
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
            shown: findings
                .iter()
                .map(|finding| show_finding(finding, source_map, Colours::Off))
                .collect(),
        });
    }
    Ok(())
}
