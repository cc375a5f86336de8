//! Builds and runs tests, one after another.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::derivation;
use super::ends::{Ends, RunSummary};
use super::error::RunnerError;
use super::frontend::Frontend;
use super::interrupts::Interrupts;
use super::plan::{self, FoundTest};
use super::reporting::{finish, start};
use super::request::{RunPlace, RunRequest, TestSettings, Verification};
use crate::model::event::{Event, Level, Verdict};
use crate::model::manifest::Manifest;
use crate::nix_cli::{self, Nix, Test};
use crate::qemu::AcceleratorChoice;
use crate::report::Output;
use crate::session::{self, ReplayMode, RunOutcome, RunSettings, StartPoint};
use crate::source_map::SourceMap;

/// Runs all tests of a request; returns how they have ended. An interrupt leaves
/// out those that are left. One of several that does not evaluate, is wrong or does
/// not build is shown, and the next one follows.
///
/// # Errors
/// When the only one does not evaluate, build or begin, or the host fails.
pub async fn run(
    request: &RunRequest,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<RunSummary, RunnerError> {
    if let RunPlace::Derivation(builders) = request.place {
        return derivation::run(request, builders, frontend, interrupts).await;
    }
    let Some(found) = plan::evaluate_all(&request.selections, interrupts).await? else {
        return Ok(RunSummary::interrupted());
    };
    let count = found.len();
    let mut ends = Ends::new(frontend, count, request.max_fail);
    // Nothing boots before all scripts are checked.
    let mut tests = Vec::new();
    for FoundTest {
        selection,
        label,
        test,
    } in found
    {
        let checked = test.and_then(|test| check_test(request, &test, frontend).map(|()| test));
        match checked {
            Ok(test) => tests.push((selection, label, test)),
            Err(error) => {
                if ends.add(&label, Err(error))?.is_break() {
                    return Ok(ends.finish());
                }
            }
        }
    }
    for (selection, label, test) in &tests {
        let nix = &selection.nix;
        let folder = request.output.folder(&test.name, label, count);
        let result = run_test(nix, &request.settings, test, &folder, frontend, interrupts).await;
        if ends.add(label, result)?.is_break() {
            break;
        }
    }
    Ok(ends.finish())
}

/// Whether a test can be run as it is.
fn check_test(
    request: &RunRequest,
    test: &Test,
    frontend: &dyn Frontend,
) -> Result<(), RunnerError> {
    let (label, source_map) = (test.label(), test.source_map());
    let script_check = request.settings.script_check;
    plan::check(label, &source_map, &test.manifest, script_check, frontend)?;
    Ok(session::preflight(&test.manifest)?)
}

/// Runs a test, and again cold if its verdict is to be verified.
async fn run_test(
    nix: &Nix,
    settings: &TestSettings,
    test: &Test,
    folder: &Path,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<Verdict, RunnerError> {
    let script = Arc::new(test.source_map());
    let job = Job::new(test, script.clone(), settings);
    let RunOutcome { verdict, begun } =
        build_and_run(nix, job, folder, frontend, interrupts).await?;
    let is_certain = settings.verification == Verification::Off
        || begun == StartPoint::Cold
        || verdict == Verdict::Interrupted;
    if is_certain {
        return Ok(verdict);
    }
    let cold = TestSettings {
        replay: ReplayMode::Disabled,
        ..settings.clone()
    };
    let job = Job {
        verifies: Some(verdict),
        ..Job::new(test, script, &cold)
    };
    let outcome = build_and_run(nix, job, folder, frontend, interrupts).await?;
    Ok(outcome.verdict)
}

/// One run of a test.
pub(super) struct Job<'a> {
    test: &'a Test,
    /// What to run: its script, or another one.
    script: Arc<SourceMap>,
    settings: &'a TestSettings,
    /// The verdict from a checkpoint that this run checks.
    verifies: Option<Verdict>,
}

impl<'a> Job<'a> {
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
) -> Result<RunOutcome, RunnerError> {
    let Job {
        test,
        script,
        settings,
        verifies,
    } = job;
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
            let manifest = &test.manifest;
            for note in &test.notes {
                events.note(Level::Info, note.clone());
            }
            let settings = run_settings(manifest, script, settings, output_folder);
            session::run(manifest, &settings, events, interrupts)
                .await
                .map_err(RunnerError::from)
        }
    };
    if let (Ok(outcome), Some(from_checkpoint)) = (&result, verifies) {
        events.emit(Event::Verified {
            from_checkpoint,
            cold: outcome.verdict,
        });
    }
    finish(reports, result, interrupts).await
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
        past: settings.replay,
        states: settings.states,
    }
}
