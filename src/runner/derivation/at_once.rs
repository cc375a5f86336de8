//! Tests that Nix builds all at once.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use super::check::{BuildState, CheckDisplay, CheckEnd, FoundCheck, end_in_log, run_one};
use crate::model::event::{Event, Verdict};
use crate::model::outcome::RunResults;
use crate::nix_cli::{self, BuildError, FailedBuilds, Nix};
use crate::report::{Reports, SharedDisplay};
use crate::runner::ends::{Ends, TestEnd};
use crate::runner::error::RunnerError;
use crate::runner::find_tests::Expected;
use crate::runner::frontend::Frontend;
use crate::runner::interrupts::Interrupts;
use crate::runner::reports::no_thread;
use crate::runner::reports::of_many::{RunReports, show_start};
use crate::runner::request::{RunRequest, folder_name};

/// Has Nix build the tests all at once: its builders take what they can. Each test is shown as its build ends; before
/// them those that have `ended` already, because they do not evaluate.
pub(super) async fn run_at_once(
    request: &RunRequest,
    ended: Vec<TestEnd>,
    found: &[FoundCheck<'_>],
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<RunResults, RunnerError> {
    let count = ended.len() + found.len();
    let reports = RunReports::start(request, frontend)?;
    let display = &reports.display;
    show_start(display, count, count, Expected::default());
    for check in found {
        if let Some(warning) = check.warning() {
            display.emit(Some(&check.label), warning);
        }
    }
    let mut ends = Ends::new(frontend, count, request.max_fail);
    let tests = found.iter().map(FoundCheck::left_out);
    reports.begin(&ends.unfinished(tests.collect()))?;
    let ended = {
        let mut at_once = AtOnce {
            run_folder: reports.path(),
            display,
            ends: &mut ends,
            left: found.iter().collect(),
        };
        at_once.run(ended, interrupts).await
    };
    let results = ends.finish();
    reports
        .conclude(ended, results, request, frontend, interrupts)
        .await
}

/// Tests that Nix builds all at once.
struct AtOnce<'a, 'b> {
    run_folder: &'a Path,
    display: &'a SharedDisplay,
    ends: &'a mut Ends<'b>,
    /// Tests that have not ended.
    left: Vec<&'a FoundCheck<'a>>,
}

impl AtOnce<'_, '_> {
    async fn run(
        &mut self,
        ended: Vec<TestEnd>,
        interrupts: &mut Interrupts,
    ) -> Result<(), RunnerError> {
        let mut flow = ControlFlow::Continue(());
        for end in ended {
            flow = self.ends.add_shown(end, self.display)?;
        }
        if flow.is_continue() {
            self.build(interrupts).await?;
        }
        self.leave_out_the_rest()
    }

    /// Builds what is left, until it is enough.
    async fn build(&mut self, interrupts: &mut Interrupts) -> Result<(), RunnerError> {
        let Some(first) = self.left.first() else {
            return Ok(());
        };
        let nix = first.selection.nix.clone();
        let derivations = self.left.iter().map(|it| it.check.derivation.clone());
        let derivations: Vec<PathBuf> = derivations.collect();
        let labels = self.left.iter();
        let labels: HashMap<String, String> = labels
            .map(|it| (it.check.derivation.display().to_string(), it.label.clone()))
            .collect();
        let display = self.display;
        let begun = Mutex::new(HashSet::new());
        let (finished, mut ended) = mpsc::unbounded_channel();
        let emit = |event: Event| {
            let label = derivation_of(&event).and_then(|name| labels.get(name));
            match (&event, label) {
                (Event::BuildFinished { derivation }, Some(_)) => {
                    let _ = finished.send(PathBuf::from(derivation));
                }
                (Event::BuildStarted { derivation }, Some(_)) => {
                    let mut begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
                    begun.insert(PathBuf::from(derivation));
                }
                _ => {}
            }
            display.emit(label.map(String::as_str), event);
        };
        let build = nix_cli::realise_all(&nix, &derivations, &emit);
        tokio::pin!(build);
        let failed = loop {
            tokio::select! {
                result = &mut build => break result?,
                Some(derivation) = ended.recv() => {
                    if self.has_ended(&nix, &derivation, interrupts).await?.is_break() {
                        return Ok(());
                    }
                }
                _ = interrupts.recv() => return self.interrupt(),
            }
        };
        // Those that were built before, and those that did not build or need what did not.
        while !self.left.is_empty() {
            let found = self.left.remove(0);
            let derivation = &found.check.derivation;
            let has_begun = {
                let begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
                begun.contains(derivation)
            };
            let error = match &failed {
                Some(failed) => reason(&nix, derivation, failed)?,
                None => None,
            };
            // One that Nix has not come to is still to be built.
            let state = error.map_or(BuildState::Unknown, |error| BuildState::Failed {
                error,
                has_begun,
            });
            if self.take(found, state, interrupts).await?.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The build of a test is over; if it has failed without a verdict, the reason shows later.
    async fn has_ended(
        &mut self,
        nix: &Nix,
        derivation: &Path,
        interrupts: &mut Interrupts,
    ) -> Result<ControlFlow<()>, RunnerError> {
        let place = self
            .left
            .iter()
            .position(|it| it.check.derivation == derivation);
        let (Some(place), Some(state)) = (place, state_of(nix, derivation)?) else {
            return Ok(ControlFlow::Continue(()));
        };
        let found = self.left.remove(place);
        self.take(found, state, interrupts).await
    }

    /// The user ends the run: the first test that is left stands for what was going on.
    fn interrupt(&mut self) -> Result<(), RunnerError> {
        self.ends.interrupt();
        if !self.left.is_empty() {
            let end = self
                .left
                .remove(0)
                .end(Ok(CheckEnd::INTERRUPTED), Path::new(""));
            let _ = self.ends.add_shown(end, self.display)?;
        }
        Ok(())
    }

    /// The run ends before those that are left.
    fn leave_out_the_rest(&mut self) -> Result<(), RunnerError> {
        for found in std::mem::take(&mut self.left) {
            // Without an outcome it has been left out.
            let end = TestEnd::without_error(found.left_out());
            let _ = self.ends.add_shown(end, self.display)?;
        }
        Ok(())
    }

    /// Reports a test whose build has ended.
    async fn take(
        &mut self,
        found: &FoundCheck<'_>,
        state: BuildState,
        interrupts: &mut Interrupts,
    ) -> Result<ControlFlow<()>, RunnerError> {
        let name = folder_name(&found.label);
        let folder = self.run_folder.join(&name);
        let (shared, label) = (self.display, &found.label);
        let display = CheckDisplay {
            start: &|output| Reports::of_one(shared, label, Some(output)).map_err(no_thread()),
            show: &|event| {
                shared.emit(Some(label), event);
                Ok(())
            },
        };
        let end = run_one(found, state, &folder, &display, interrupts).await;
        let end = found.end(end, Path::new(&name));
        self.ends.add_shown(end, self.display)
    }
}

/// Why a derivation is not built, of what has failed; None if it is, or Nix has not come to it.
fn reason(
    nix: &Nix,
    derivation: &Path,
    failed: &FailedBuilds,
) -> Result<Option<BuildError>, RunnerError> {
    if nix_cli::is_built(nix, derivation)? {
        return Ok(None);
    }
    let needed = nix_cli::needed_by(nix, derivation)?;
    Ok(failed.of(|derivation| needed.contains(derivation)))
}

/// Returns the result of a finished build, or `None` until Nix has reported it.
fn state_of(nix: &Nix, derivation: &Path) -> Result<Option<BuildState>, RunnerError> {
    if nix_cli::is_built(nix, derivation)? {
        return Ok(Some(BuildState::Unknown));
    }
    let log = nix_cli::build_log(nix, derivation)?;
    let has_failed = matches!(
        end_in_log(&log),
        Some(Event::TestFinished { verdict, .. }) if verdict != Verdict::Passed
    );
    Ok(has_failed.then(|| BuildState::Failed {
        error: BuildError::Failed("the test has failed".to_owned()),
        has_begun: true,
    }))
}

/// The derivation that an event of a build is about.
fn derivation_of(event: &Event) -> Option<&str> {
    match event {
        Event::BuildStarted { derivation }
        | Event::BuildLog { derivation, .. }
        | Event::BuildFinished { derivation } => Some(derivation),
        _ => None,
    }
}
