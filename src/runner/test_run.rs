//! One run of a test alone: checked, built, run, verified.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::apart::RunEnd;
use super::error::RunnerError;
use super::executor::{Executor, UsersTerminal};
use super::frontend::Frontend;
use super::interrupts::Interrupts;
use super::reports::{FinishedRun, finish, start};
use super::request::{RunRequest, TestSettings, Verification};
use super::script_check::check_script_of;
use crate::event_bus::Events;
use crate::model::event::{Event, Level, Verdict};
use crate::model::manifest::Manifest;
use crate::nix_cli::{self, Nix, Test};
use crate::qemu::AcceleratorChoice;
use crate::report::Output;
use crate::session::{self, ReplayMode, RunOutcome, RunSettings, StartPoint};
use crate::source_map::SourceMap;

/// Whether a test can be run as it is.
pub(super) fn check_test(
    request: &RunRequest,
    test: &Test,
    frontend: &dyn Frontend,
) -> Result<(), RunnerError> {
    let (label, source_map) = (test.label(), test.source_map());
    let script_check = request.settings.script_check;
    check_script_of(label, &source_map, &test.manifest, script_check, frontend)?;
    Ok(session::preflight(&test.manifest)?)
}

/// Runs a test, and again cold if its verdict is to be verified.
pub(super) async fn run_test(
    nix: &Nix,
    settings: &TestSettings,
    test: &Test,
    folder: &Path,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<FinishedRun, RunnerError> {
    let script = Arc::new(test.source_map());
    verified(
        settings,
        |finished: &FinishedRun| finished.outcome,
        async |settings, verifies| {
            let job = Job::new(test, script.clone(), settings).verifying(verifies);
            build_and_run(nix, job, folder, frontend, interrupts).await
        },
    )
    .await
}

/// Runs a test with `run`, and a second time cold if its verdict comes from a checkpoint and is to be verified. `run` has
/// the settings, and the verdict that it verifies.
pub(super) async fn verified<T>(
    settings: &TestSettings,
    outcome_of: impl Fn(&T) -> RunOutcome,
    mut run: impl AsyncFnMut(&TestSettings, Option<Verdict>) -> Result<T, RunnerError>,
) -> Result<T, RunnerError> {
    let ended = run(settings, None).await?;
    let RunOutcome { verdict, begun } = outcome_of(&ended);
    let is_certain = settings.verification == Verification::Off
        || begun == StartPoint::Cold
        || verdict == Verdict::Interrupted;
    if is_certain {
        return Ok(ended);
    }
    let cold = TestSettings {
        replay: ReplayMode::Disabled,
        ..settings.clone()
    };
    run(&cold, Some(verdict)).await
}

/// One run of a test.
pub(super) struct Job<'a> {
    test: &'a Test,
    /// The script to run: that of the test, or another one.
    script: Arc<SourceMap>,
    settings: &'a TestSettings,
    /// The verdict from a checkpoint that this run checks.
    verifies: Option<Verdict>,
}

impl<'a> Job<'a> {
    /// Returns the run with the verdict from a checkpoint that it checks.
    pub fn verifying(self, verifies: Option<Verdict>) -> Self {
        Self { verifies, ..self }
    }

    /// Runs the test, which is built; its output goes to `folder`.
    ///
    /// # Errors
    /// Returns an error if the test could not be begun.
    pub async fn execute(
        self,
        folder: PathBuf,
        events: &Events,
        executor: &mut impl Executor,
    ) -> Result<RunEnd, RunnerError> {
        let manifest = &self.test.manifest;
        for note in &self.test.notes {
            events.note(Level::Info, note.clone());
        }
        let settings = run_settings(manifest, self.script, self.settings, folder);
        let run = executor.execute(manifest, &settings, events);
        let end = marking_slow(self.settings.slow_timeout, events, run).await?;
        if let Some(from_checkpoint) = self.verifies {
            let cold = end.outcome.verdict;
            events.emit(Event::Verified {
                from_checkpoint,
                cold,
            });
        }
        Ok(end)
    }

    pub fn new(test: &'a Test, script: Arc<SourceMap>, settings: &'a TestSettings) -> Self {
        Self {
            test,
            script,
            settings,
            verifies: None,
        }
    }
}

/// Builds an evaluated test and runs it; its output goes to `folder`. The
/// manifest is that of the evaluation: its store paths are final, as those of
/// content-addressed derivations are not.
pub(super) async fn build_and_run(
    nix: &Nix,
    job: Job<'_>,
    folder: &Path,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<FinishedRun, RunnerError> {
    let test = job.test;
    let output = Output::create(folder, &test.name)?;
    let (root, output_folder) = (output.root(), output.folder().to_owned());
    let reports = start(frontend.display(), Some(output))?;
    let events = &reports.events;
    let tell = |event| events.emit(event);
    let built = tokio::select! {
        built = nix_cli::realise(nix, &test.derivation, &root, &tell) => Some(built),
        _ = interrupts.recv() => None,
    };
    let result = match built {
        None => {
            events.note(Level::Warning, "interrupted while building");
            Ok(RunOutcome {
                verdict: Verdict::Interrupted,
                begun: StartPoint::Cold,
            })
        }
        Some(Err(error)) => Err(error.into()),
        Some(Ok(())) => {
            let mut executor = UsersTerminal(interrupts);
            let run = Box::pin(job.execute(output_folder, events, &mut executor));
            run.await.map(|end| end.outcome)
        }
    };
    finish(reports, result, interrupts).await
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

pub(super) fn run_settings(
    manifest: &Manifest,
    script: Arc<SourceMap>,
    settings: &TestSettings,
    output_folder: PathBuf,
) -> RunSettings {
    let accelerator = AcceleratorChoice::detect();
    let slowness = if session::are_all_containers(manifest) {
        1.0
    } else {
        accelerator.accelerator.slowness()
    };
    let of_test = Duration::from_secs(manifest.global_timeout_s);
    RunSettings {
        source_map: script,
        mode: settings.mode.clone(),
        subtests: settings.subtests.clone(),
        output_folder,
        global_timeout: settings.global_timeout.unwrap_or(of_test),
        timeout_factor: settings.timeout_factor.with(slowness),
        accelerator,
        replay: settings.replay,
        states: settings.states,
        film: settings.film,
        run: std::process::id(),
    }
}
