//! Runs a test that is built already.

use std::path::Path;
use std::sync::Arc;

use super::error::RunnerError;
use super::frontend::Frontend;
use super::interrupts::Interrupts;
use super::reports::{finish, start};
use super::request::ScriptCheck;
use super::script_check::check_script_of;
use super::script_process::ScriptProcess;
use crate::model::event::{Level, Verdict};
use crate::model::manifest::Manifest;
use crate::report::Output;
use crate::session::{self, RunSettings, TestInput};
use crate::source_map::SourceMap;

/// A test whose machines are built.
#[derive(Debug)]
pub struct BuiltTest {
    pub manifest: Manifest,
    pub script: SourceMap,
    /// Warnings for the user before the run.
    pub warnings: Vec<String>,
}

/// Runs a built test; its output goes beside what else is in `folder`.
///
/// # Errors
/// Returns an error if its script cannot run, it could not be begun, or its output is not whole.
pub async fn run_built(
    test: BuiltTest,
    settings: RunSettings,
    script_check: ScriptCheck,
    folder: &Path,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<Verdict, RunnerError> {
    let BuiltTest {
        mut manifest,
        script,
        warnings,
    } = test;
    let choices = session::decide_backends(&mut manifest, script.script());
    check_script_of(&manifest.name, &script, &manifest, script_check, frontend)?;
    session::preflight(&manifest)?;
    let output = Output::beside(folder, &manifest.name)?;
    let output_folder = output.folder().to_owned();
    let input = TestInput::new(manifest, Arc::new(script), settings, output_folder);
    let reports = start(frontend.display(), Some(output))?;
    for choice in choices {
        reports.events.note(Level::Info, choice.text);
    }
    for warning in warnings {
        reports.events.note(Level::Warning, warning);
    }
    let end = ScriptProcess::OfTerminal.run(&input, &reports.events, interrupts);
    let outcome = end.await.map(|end| end.outcome);
    let finished = finish(reports, outcome, interrupts).await?;
    finished.shown?;
    Ok(finished.outcome.verdict)
}
