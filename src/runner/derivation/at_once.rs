//! Tests that Nix builds all at once.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::check::{BuildState, CheckDisplay, CheckEnd, FoundCheck, end_in_log, run_one};
use crate::model::event::{Event, Verdict};
use crate::model::outcome::RunResults;
use crate::nix_cli::{self, BuildError, Nix};
use crate::report::{Reports, SharedDisplay};
use crate::runner::ends::{Ends, TestEnd};
use crate::runner::error::RunnerError;
use crate::runner::frontend::Frontend;
use crate::runner::interrupts::Interrupts;
use crate::runner::planned::named;
use crate::runner::reporting::no_thread;
use crate::runner::request::{RunRequest, file_name};
use crate::runner::run_reports::{RunReports, show_start};

/// Has Nix build the tests all at once: its builders take what they can. Each test is shown as its build ends.
pub(super) async fn run_at_once(
    request: &RunRequest,
    found: &[FoundCheck<'_>],
    mut ends: Ends<'_>,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<RunResults, RunnerError> {
    let reports = RunReports::start(request, frontend)?;
    let display = &reports.display;
    show_start(display, ends.count(), ends.count(), None);
    let ended = {
        let mut at_once = AtOnce {
            run_folder: reports.path(),
            display,
            ends: &mut ends,
            left: found.iter().collect(),
        };
        at_once.run(interrupts).await
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
    /// Those that have not ended.
    left: Vec<&'a FoundCheck<'a>>,
}

impl AtOnce<'_, '_> {
    async fn run(&mut self, interrupts: &mut Interrupts) -> Result<(), RunnerError> {
        let Some(first) = self.left.first() else {
            return Ok(());
        };
        let nix = first.selection.nix.clone();
        let derivations: Vec<PathBuf> = self
            .left
            .iter()
            .map(|it| it.check.derivation.clone())
            .collect();
        let labels: HashMap<String, String> = self
            .left
            .iter()
            .map(|it| (it.check.derivation.display().to_string(), it.label.clone()))
            .collect();
        let (finished, mut ended) = mpsc::unbounded_channel();
        let display = self.display.clone();
        let emit = move |event: Event| {
            let label = derivation_of(&event).and_then(|name| labels.get(name));
            if let (Event::BuildFinished { derivation }, Some(_)) = (&event, label) {
                let _ = finished.send(PathBuf::from(derivation));
            }
            display.emit(label.map(String::as_str), event);
        };
        let build = nix_cli::realise_all(&nix, &derivations, &emit);
        tokio::pin!(build);
        loop {
            tokio::select! {
                result = &mut build => {
                    if let Err(error @ BuildError::NoNix(_)) = result {
                        return Err(error.into());
                    }
                    break;
                }
                Some(derivation) = ended.recv() => {
                    let place = self.left.iter().position(|it| it.check.derivation == derivation);
                    let Some(place) = place else { continue };
                    let Some(state) = state_of(&nix, &derivation)? else { continue };
                    let found = self.left.remove(place);
                    if self.take(found, state, interrupts).await?.is_break() {
                        return self.leave_out_the_rest();
                    }
                }
                _ = interrupts.recv() => {
                    let found = self.left.remove(0);
                    let end = found.end(Ok(CheckEnd::INTERRUPTED), Path::new(""));
                    let _ = self.ends.add_shown(end, self.display)?;
                    return self.leave_out_the_rest();
                }
            }
        }
        // Those that were built before, and those that need what did not build.
        while !self.left.is_empty() {
            let found = self.left.remove(0);
            let flow = self.take(found, BuildState::Unknown, interrupts).await?;
            if flow.is_break() {
                break;
            }
        }
        self.leave_out_the_rest()
    }

    /// The run ends before those that are left.
    fn leave_out_the_rest(&mut self) -> Result<(), RunnerError> {
        for found in std::mem::take(&mut self.left) {
            // Without an outcome it has been left out.
            let result = named(found.selection, &found.label, &found.check.attribute);
            let end = TestEnd {
                result,
                error: None,
            };
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
        let name = file_name(&found.label);
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

/// What came of a build that has just ended; None if that shows only later.
fn state_of(nix: &Nix, derivation: &Path) -> Result<Option<BuildState>, RunnerError> {
    if nix_cli::is_built(nix, derivation)? {
        return Ok(Some(BuildState::Unknown));
    }
    let log = nix_cli::build_log(nix, derivation)?;
    let has_failed = matches!(
        end_in_log(&log),
        Some(Event::TestFinished { verdict, .. }) if verdict != Verdict::Passed
    );
    Ok(has_failed.then_some(BuildState::Failed))
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
