//! Checks the script of a test before anything is built.

use super::error::RunnerError;
use super::findings::show_finding;
use super::frontend::Frontend;
use super::request::ScriptCheck;
use crate::language::check::{self, Parts, Severity, TestContext};
use crate::model::manifest::Manifest;
use crate::report::Colours;
use crate::script_modules::{check_modules, imported_modules, modules_of_folders, names_in};
use crate::source_map::SourceMap;

/// Checks the script of a test and the modules that it imports, and shows the findings.
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
    let modules = imported_modules(source_map);
    let context = TestContext {
        modules: names_in(&modules),
        beside: modules_of_folders(source_map, manifest),
        ..TestContext::of(manifest)
    };
    let of_script = check::check(source_map.script(), &context, parts);
    let mut all = Vec::new();
    let mut shown = String::new();
    let of_modules = check_modules(&modules, parts);
    for (source_map, mut findings) in of_modules.into_iter().chain([(source_map, of_script)]) {
        // Notes are for who asks for a check.
        findings.retain(|finding| finding.level > Severity::Note);
        frontend.show_findings(&findings, source_map);
        let texts = findings.iter();
        shown.extend(texts.map(|finding| show_finding(finding, source_map, Colours::Off)));
        all.extend(findings);
    }
    if check::stops(&all) {
        return Err(RunnerError::Findings {
            test: label.to_owned(),
            findings: check::count(&all),
            shown,
        });
    }
    Ok(())
}
