//! Builds and runs tests: one alone in this process, several side by side in processes of their own.

use std::path::{Path, absolute};
use std::time::Instant;

use super::attempts::{AttemptEnd, Attempts, Next, make_attempts, retry_event};
use super::checked_test::{CheckedTest, left_out};
use super::derivation;
use super::ends::{Ends, TestEnd};
use super::error::RunnerError;
use super::evaluation::{EvalProcesses, FoundTest, evaluate_all};
use super::find_tests::{self, FoundTests};
use super::frontend::Frontend;
use super::interrupts::Interrupts;
use super::many;
use super::reports::of_many::{RunReports, remember};
use super::reports::of_one::OnlyReport;
use super::reports::{Shown, announce};
use super::request::{RunPlace, RunRequest, folder_name};
use super::test_run::run_test;
use crate::engine::RunMode;
use crate::model::event::{Event, Level, round};
use crate::model::outcome::{Attempt, Outcome, RunResults, TestResult};
use crate::nix_cli::{EvalError, Test, TestNames};
use crate::qemu::AcceleratorChoice;
use crate::report::{RunFolder, read_results};

/// Runs all tests of a request; returns how they have ended. An interrupt leaves
/// out those that are left. One of several that does not evaluate, is wrong or does
/// not build is shown, and the others run.
///
/// # Errors
/// Returns an error if the only one does not evaluate, build or begin, or the host fails.
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
        found = find_tests::find(&request.selections, &request.filter, &request.project, processes) => found,
        _ = interrupts.recv() => return Ok(Ends::interrupted(frontend)),
    };
    let found = found.inspect_err(|error| keep_eval_error(request, frontend, error))?;
    if found.count() != 1 && matches!(request.settings.mode, RunMode::Script) {
        return many::run_side_by_side(request, found, processes, frontend, interrupts).await;
    }
    let found = match found {
        FoundTests::Evaluated(found) => found,
        FoundTests::Named(named) => {
            tokio::select! {
                found = evaluate_all(named, processes, &request.project, find_tests::evaluate_these) => found,
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
    let claimed = match &name {
        Some(_) => None,
        None => Some(RunFolder::claim(&folder)?),
    };
    let mut ends = Ends::new(frontend, found.len(), request.max_fail);
    let mut turns = Turns {
        request,
        folder: &folder,
        is_alone: name.is_some(),
        frontend,
        ends: &mut ends,
        shown: Ok(Shown::All),
    };
    let ended = turns.run(found, interrupts).await;
    let shown = std::mem::replace(&mut turns.shown, Ok(Shown::All));
    let results = ends.finish();
    let Some(claimed) = claimed else {
        let name = name.unwrap_or_default();
        let report = OnlyReport::new(request, &folder, &name)?;
        let ended = ended.and(shown);
        return report.conclude(ended, results, frontend, interrupts).await;
    };
    RunReports::of_folder(claimed, frontend)?
        .conclude(ended, results, request, frontend, interrupts)
        .await
}

/// Keeps what keeps a whole file from being evaluated: for `--rerun`, and in the place of the reports of its last run,
/// which would say that its tests passed.
fn keep_eval_error(request: &RunRequest, frontend: &dyn Frontend, error: &RunnerError) {
    let ([selection], RunnerError::Eval(EvalError::Nix(_))) =
        (request.selections.as_slice(), error)
    else {
        return;
    };
    let history = &request.project.history;
    // Not what a command line has wrong, such as a name.
    if !selection.evaluation.attributes.is_empty() || !history.knows(&selection.source) {
        return;
    }
    let label = selection.evaluation.place.to_string();
    let result = TestResult {
        outcome: Outcome::NotRun,
        obstacle: Some(error.obstacle()),
        message: Some(error.report()),
        ..left_out(selection, &label, &TestNames::default())
    };
    let results = Ends::only(frontend, result);
    remember(frontend, &results);
    let folder = request.output.of_many();
    let is_of_it = |earlier: &RunResults| {
        let mut tests = earlier.tests.iter();
        tests.any(|test| test.source == selection.source)
    };
    if !read_results(&folder).is_ok_and(|earlier| is_of_it(&earlier)) {
        return;
    }
    let written = RunFolder::claim(&folder).and_then(|folder| folder.finish(&results, history));
    match written {
        Ok(_) => frontend.annotate(&folder, &results),
        Err(error) => tracing::warn!("{error}"),
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
    shown: Result<Shown, RunnerError>,
}

impl Turns<'_, '_> {
    async fn run(
        &mut self,
        found: Vec<FoundTest<'_, Test>>,
        interrupts: &mut Interrupts,
    ) -> Result<(), RunnerError> {
        let mut is_over = false;
        // Nothing boots before all scripts are checked.
        let mut tests = Vec::new();
        for found in found {
            if is_over {
                let result = left_out(found.selection, &found.label, &found.names);
                let _ = self.ends.add(TestEnd::without_error(result))?;
                continue;
            }
            match self.checked(found) {
                Ok(checked) => tests.push(checked),
                Err(end) => is_over = self.ends.add(*end)?.is_break(),
            }
        }
        let begin = Instant::now();
        for checked in tests {
            if is_over {
                let _ = self.ends.add(checked.left_out())?;
                continue;
            }
            let started_s = round(begin.elapsed().as_secs_f64());
            let end = self.one(&checked, started_s, interrupts).await?;
            is_over = self.ends.add(end)?.is_break();
        }
        Ok(())
    }

    fn checked<'t>(&self, found: FoundTest<'t, Test>) -> Result<CheckedTest<'t>, Box<TestEnd>> {
        let checked = CheckedTest::of_found(self.request, found, self.frontend)?;
        let demand = checked.demand(AcceleratorChoice::detect().accelerator);
        match demand.check(&self.request.resources) {
            Ok(()) => Ok(checked),
            Err(error) => Err(Box::new(checked.failed(error))),
        }
    }

    async fn one(
        &mut self,
        checked: &CheckedTest<'_>,
        started_s: f64,
        interrupts: &mut Interrupts,
    ) -> Result<TestEnd, RunnerError> {
        let folder = if self.is_alone {
            self.folder.to_owned()
        } else {
            self.folder.join(folder_name(&checked.label))
        };
        if let Some(warning) = checked.policy.warning() {
            announce(self.frontend, Event::note(Level::Warning, warning))?;
        }
        let attempts = self.attempts(checked, &folder, interrupts).await;
        Ok(match attempts {
            Ok(attempts) => checked.end(attempts, started_s),
            Err(error) => checked.failed(error),
        })
    }

    /// Runs a test as often as it may be tried.
    async fn attempts(
        &mut self,
        checked: &CheckedTest<'_>,
        folder: &Path,
        interrupts: &mut Interrupts,
    ) -> Result<Attempts, RunnerError> {
        let settings = checked.settings(self.request);
        let (nix, test) = (&checked.selection.nix, &checked.test);
        let (frontend, shown) = (self.frontend, &mut self.shown);
        let once = async |at: &Path, earlier: &[Attempt]| {
            if let Some(event) = retry_event(checked.rule, earlier) {
                announce(frontend, event)?;
            }
            let finished = run_test(nix, &settings, test, at, frontend, interrupts).await?;
            *shown = finished.shown;
            Ok(AttemptEnd {
                verdict: finished.outcome.verdict,
                next: match shown {
                    Ok(Shown::All) => Next::ByTheRule,
                    // The user has stopped waiting for the display, or it cannot be written.
                    Ok(Shown::NotAll) | Err(_) => Next::Never,
                },
            })
        };
        make_attempts(checked.rule, folder, self.folder, once).await
    }
}
