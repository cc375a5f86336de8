//! Builds and runs tests: one alone in this process, several side by side in processes of their own.

use std::path::{Path, absolute};
use std::time::Instant;

use super::derivation;
use super::ends::{Ends, TestEnd};
use super::error::RunnerError;
use super::evaluation::{EvalProcesses, FoundTest, evaluate_all};
use super::frontend::Frontend;
use super::interrupts::Interrupts;
use super::many;
use super::plan::{self, FoundTests};
use super::planned::{PlannedTest, relative};
use super::reporting::{Shown, announce, announce_report, show_results};
use super::request::{RunPlace, RunRequest, file_name};
use super::run_reports::remember;
use super::test_run::run_test;
use crate::engine::RunMode;
use crate::model::event::{Event, Level, round};
use crate::model::outcome::{Attempt, Obstacle, Outcome, RunResults};
use crate::nix_cli::Test;
use crate::qemu::AcceleratorChoice;
use crate::report::{Output, write_reports};

/// Runs all tests of a request; returns how they have ended. An interrupt leaves
/// out those that are left. One of several that does not evaluate, is wrong or does
/// not build is shown, and the others run.
///
/// # Errors
/// When the only one does not evaluate, build or begin, or the host fails.
pub async fn run(
    request: &RunRequest,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<RunResults, RunnerError> {
    match request.place {
        RunPlace::Here => run_here(request, frontend, interrupts).await,
        RunPlace::Derivation(builders) => {
            derivation::run(request, builders, frontend, interrupts).await
        }
    }
}

async fn run_here(
    request: &RunRequest,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<RunResults, RunnerError> {
    let processes = EvalProcesses::new(request.evaluation);
    let found = tokio::select! {
        found = plan::find(&request.selections, &request.filter, &request.project, processes) => found?,
        _ = interrupts.recv() => return Ok(Ends::interrupted(frontend)),
    };
    if found.count() > 1 && matches!(request.settings.mode, RunMode::Script) {
        return many::run_side_by_side(request, found, processes, frontend, interrupts).await;
    }
    let found = match found {
        FoundTests::Evaluated(found) => found,
        FoundTests::Named(named) => {
            tokio::select! {
                found = evaluate_all(named, processes, plan::evaluate_these) => found,
                _ = interrupts.recv() => return Ok(Ends::interrupted(frontend)),
            }
        }
    };
    run_one_by_one(request, found, frontend, interrupts).await
}

/// Runs tests that have the user's terminal, each in turn.
async fn run_one_by_one(
    request: &RunRequest,
    found: Vec<FoundTest<'_, Test>>,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<RunResults, RunnerError> {
    let name = match found.as_slice() {
        [only] => Some(only.name().to_owned()),
        _ => None,
    };
    let folder = match &name {
        Some(name) => request.output.of_one(name),
        None => request.output.of_many(),
    };
    let folder =
        absolute(folder).map_err(RunnerError::host("cannot tell where the output goes"))?;
    let mut ends = Ends::new(frontend, found.len(), request.max_fail);
    let mut turns = Turns {
        request,
        folder: &folder,
        is_alone: name.is_some(),
        frontend,
        ends: &mut ends,
        shown: Shown::All,
    };
    let ended = turns.run(found, interrupts).await;
    let shown = turns.shown;
    let results = ends.finish();
    remember(frontend, &results);
    if let Err(error) = ended {
        if let Some(name) = name {
            replace_reports(request, &folder, &name, &results);
            frontend.annotate(&folder, &results);
        }
        return Err(error);
    }
    for text in closing_lines(name.is_some(), &results) {
        if shown == Shown::All {
            announce(frontend, Event::note(Level::Info, text))?;
        }
    }
    let path = write_reports(&folder, &results, &request.project.history)?;
    if name.is_some() {
        announce_report(frontend, path, shown, interrupts).await?;
    } else {
        show_results(frontend, &results, path)?;
    }
    if shown == Shown::All {
        frontend.annotate(&folder, &results);
    }
    Ok(results)
}

/// Puts the reports on a test that was not run in the place of those of an earlier run, as far as that is possible: the
/// reason is shown in any case.
fn replace_reports(request: &RunRequest, folder: &Path, name: &str, results: &RunResults) {
    let obstacle = results.tests.first().and_then(|test| test.obstacle);
    let is_ready = match obstacle {
        Some(Obstacle::Test) => Output::create(folder, name)
            .and_then(Output::finish)
            .is_ok(),
        // What the build has said is there.
        Some(Obstacle::Build) => true,
        Some(Obstacle::Host) | None => false,
    };
    if is_ready && let Err(error) = write_reports(folder, results, &request.project.history) {
        tracing::warn!("{error}");
    }
}

/// Tests that run each in its turn.
struct Turns<'a, 'f> {
    request: &'a RunRequest,
    folder: &'a Path,
    is_alone: bool,
    frontend: &'f dyn Frontend,
    ends: &'a mut Ends<'f>,
    /// How much of the last one its reader has seen.
    shown: Shown,
}

impl Turns<'_, '_> {
    async fn run(
        &mut self,
        found: Vec<FoundTest<'_, Test>>,
        interrupts: &mut Interrupts,
    ) -> Result<(), RunnerError> {
        // Nothing boots before all scripts are checked.
        let mut tests = Vec::new();
        for found in found {
            match self.planned(found) {
                Ok(planned) => tests.push(planned),
                Err(end) => {
                    if self.ends.add(*end)?.is_break() {
                        return Ok(());
                    }
                }
            }
        }
        let begin = Instant::now();
        for planned in tests {
            let started_s = round(begin.elapsed().as_secs_f64());
            let end = self.one(&planned, started_s, interrupts).await?;
            if self.ends.add(end)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn planned<'t>(&self, found: FoundTest<'t, Test>) -> Result<PlannedTest<'t>, Box<TestEnd>> {
        let planned = PlannedTest::of_found(self.request, found, self.frontend)?;
        let demand = planned.demand(AcceleratorChoice::detect().accelerator);
        match demand.check(&self.request.resources) {
            Ok(()) => Ok(planned),
            Err(error) => Err(Box::new(planned.failed(error))),
        }
    }

    async fn one(
        &mut self,
        planned: &PlannedTest<'_>,
        started_s: f64,
        interrupts: &mut Interrupts,
    ) -> Result<TestEnd, RunnerError> {
        let folder = if self.is_alone {
            self.folder.to_owned()
        } else {
            self.folder.join(file_name(&planned.label))
        };
        if let Some(warning) = planned.warning() {
            announce(self.frontend, Event::note(Level::Warning, warning))?;
        }
        let attempts = run_attempts(self.request, planned, &folder, self.frontend, interrupts);
        Ok(match attempts.await {
            Ok((mut attempts, seen)) => {
                self.shown = seen;
                for attempt in &mut attempts {
                    attempt.folder = relative(&attempt.folder, self.folder);
                }
                planned.end(attempts, started_s)
            }
            Err(error) => planned.failed(error),
        })
    }
}

/// Runs a test as often as it may be tried; returns how much the reader has seen of it, too.
async fn run_attempts(
    request: &RunRequest,
    planned: &PlannedTest<'_>,
    folder: &Path,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<(Vec<Attempt>, Shown), RunnerError> {
    let settings = planned.settings(request);
    let nix = &planned.selection.nix;
    let begin = Instant::now();
    let mut attempts = Vec::new();
    let mut shown = Shown::All;
    while planned.rule.continues(&attempts, begin) {
        let at = planned.rule.folder(folder, &attempts);
        let start = Instant::now();
        let test = &planned.test;
        let finished = run_test(nix, &settings, test, &at, frontend, interrupts).await?;
        shown = finished.shown;
        attempts.push(Attempt {
            verdict: finished.outcome.verdict,
            duration_s: round(start.elapsed().as_secs_f64()),
            folder: at,
        });
    }
    Ok((attempts, shown))
}

/// What there is to say of the only test beside the verdict of its last attempt.
fn closing_lines(is_alone: bool, results: &RunResults) -> Vec<String> {
    let Some(test) = results.tests.first().filter(|_| is_alone) else {
        return Vec::new();
    };
    let count = test.attempts.len();
    let verdicts = test.attempts.iter().map(|attempt| attempt.verdict);
    let counts = Outcome::count_in_words(verdicts.map(Outcome::of_verdict)).join(", ");
    let (outcome, label) = (test.outcome.name(), &test.label);
    let attempts = format!("{outcome}: {label}, {count} attempts: {counts}");
    let excuse = test.quarantine.as_ref().map(|quarantine| {
        let reason = &quarantine.reason;
        format!("in quarantine: {label} ({outcome}: {reason}): the run does not fail")
    });
    let attempts = (count > 1).then_some(attempts);
    let excuse = excuse.filter(|_| !test.outcome.is_good());
    attempts.into_iter().chain(excuse).collect()
}
