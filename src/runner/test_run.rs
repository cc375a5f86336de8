//! One run of a test: checked, executed, verified.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::apart::RunEnd;
use super::error::RunnerError;
use super::frontend::Frontend;
use super::interrupts::InterruptSource;
use super::request::{RunRequest, Verification};
use super::script_check::check_script_of;
use super::script_process::ScriptProcess;
use crate::event_bus::Events;
use crate::host::Seed;
use crate::model::event::{Event, Level, Verdict};
use crate::nix_cli::Test;
use crate::session::{self, ReplayMode, RunOutcome, RunSettings, StartPoint, TestInput};
use crate::source_map::SourceMap;

/// Checks that a test can be run as it is.
///
/// # Errors
/// Returns an error if its script or its machines are wrong.
pub(super) fn check_test(
    request: &RunRequest,
    test: &Test,
    frontend: &dyn Frontend,
) -> Result<(), RunnerError> {
    let (label, source_map) = (test.label(), test.source_map());
    let script_check = request.script_check;
    check_script_of(label, &source_map, &test.manifest, script_check, frontend)?;
    if let Some(folder) = &request.settings.disks_from {
        session::check_disks(folder, &test.manifest)?;
    }
    Ok(session::preflight(&test.manifest)?)
}

/// Runs a test with `run`, and a second time cold if its verdict comes from a checkpoint and is to be verified. `run` has
/// the settings, and the verdict that it verifies.
pub(super) async fn verified<T>(
    verification: Verification,
    settings: &RunSettings,
    outcome_of: impl Fn(&T) -> RunOutcome,
    mut run: impl AsyncFnMut(&RunSettings, Option<Verdict>) -> Result<T, RunnerError>,
) -> Result<T, RunnerError> {
    // Both runs have the same.
    let settings = &RunSettings {
        seed: Some(settings.seed.unwrap_or_else(Seed::draw)),
        ..settings.clone()
    };
    let ended = run(settings, None).await?;
    let RunOutcome { verdict, begun, .. } = outcome_of(&ended);
    let is_certain = verification == Verification::Off
        || begun == StartPoint::Cold
        || verdict == Verdict::Interrupted;
    if is_certain {
        return Ok(ended);
    }
    let cold = RunSettings {
        replay: ReplayMode::Disabled,
        ..settings.clone()
    };
    run(&cold, Some(verdict)).await
}

/// One run of a test.
pub(super) struct Job<'a> {
    pub test: &'a Test,
    /// The script to run: that of the test, or another one.
    pub script: Arc<SourceMap>,
    pub settings: &'a RunSettings,
    pub process: ScriptProcess,
    /// After which time the test is said to be slow.
    pub slow_after: Option<Duration>,
    /// The verdict from a checkpoint that this run checks.
    pub verifies: Option<Verdict>,
}

impl Job<'_> {
    /// Runs the test, which is built; its output goes to `folder`. The manifest is that of the evaluation: its store
    /// paths are final, as those of content-addressed derivations are not.
    ///
    /// # Errors
    /// Returns an error if the test could not be begun.
    pub async fn execute(
        self,
        folder: PathBuf,
        events: &Events,
        interrupts: &mut impl InterruptSource,
    ) -> Result<RunEnd, RunnerError> {
        for note in &self.test.notes {
            events.note(Level::Info, note.clone());
        }
        let manifest = self.test.manifest.clone();
        let mut settings = self.settings.clone();
        settings.debug_command = settings
            .debug_command
            .and_then(|command| debug_command(&command, &self.test.attribute));
        let input = TestInput::new(manifest, self.script, settings, folder);
        let run = self.process.run(&input, events, interrupts);
        let end = marking_slow(self.slow_after, events, run).await?;
        if let Some(from_checkpoint) = self.verifies {
            let cold = end.outcome.verdict;
            events.emit(Event::Verified {
                from_checkpoint,
                cold,
            });
        }
        Ok(end)
    }
}

/// Returns the command that debugs a test among all that a command is about.
fn debug_command(command: &str, attribute: &str) -> Option<String> {
    let words = shlex::split(command)?;
    let is_chosen = words.iter().any(|word| word == "-A" || word.contains('#'));
    if attribute.is_empty() || is_chosen {
        return Some(command.to_owned());
    }
    let attribute = shlex::try_quote(attribute).ok()?;
    Some(format!("{command} -A {attribute}"))
}

/// Runs a test, and says so when it takes longer than its limit.
async fn marking_slow<T>(
    limit: Option<Duration>,
    events: &Events,
    run: impl Future<Output = T>,
) -> T {
    let Some(limit) = limit else {
        return run.await;
    };
    tokio::pin!(run);
    tokio::select! {
        ended = &mut run => ended,
        () = tokio::time::sleep(limit) => {
            let after_s = limit.as_secs_f64();
            events.emit(Event::Slow { after_s });
            run.await
        }
    }
}
