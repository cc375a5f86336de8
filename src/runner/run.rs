//! Builds and runs tests: one alone in this process, several side by side in processes of their own.

use std::path::{Path, absolute};
use std::time::Instant;

use super::derivation;
use super::ends::{Ends, RunSummary};
use super::error::RunnerError;
use super::evaluation::{EvalProcesses, FoundTest, evaluate_all};
use super::frontend::Frontend;
use super::interrupts::Interrupts;
use super::many;
use super::plan::{self, FoundTests};
use super::planned::{PlannedTest, not_run, relative};
use super::reporting::{Shown, announce, announce_report, show_results};
use super::request::{RunPlace, RunRequest, file_name};
use super::test_run::{check_test, run_test};
use crate::engine::RunMode;
use crate::history;
use crate::model::event::{Event, Level, round};
use crate::model::outcome::{Attempt, Outcome, TestResult};
use crate::nix_cli::Test;
use crate::qemu::AcceleratorChoice;
use crate::report::write_reports;

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
) -> Result<RunSummary, RunnerError> {
    let summary = match request.place {
        RunPlace::Here => run_here(request, frontend, interrupts).await?,
        RunPlace::Derivation(builders) => {
            derivation::run(request, builders, frontend, interrupts).await?
        }
    };
    if let Err(error) = history::remember(&summary.results) {
        frontend.show_warning(&format!("the history of tests cannot be written: {error}"));
    }
    Ok(summary)
}

async fn run_here(
    request: &RunRequest,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<RunSummary, RunnerError> {
    let processes = EvalProcesses::new(request.evaluation);
    let found = tokio::select! {
        found = plan::find(&request.selections, &request.filter, &request.project, processes) => found?,
        _ = interrupts.recv() => return Ok(RunSummary::interrupted(frontend)),
    };
    if found.count() > 1 && matches!(request.settings.mode, RunMode::Script) {
        return many::run_side_by_side(request, found, processes, frontend, interrupts).await;
    }
    let found = match found {
        FoundTests::Evaluated(found) => found,
        FoundTests::Named(named) => {
            tokio::select! {
                found = evaluate_all(named, processes, plan::evaluate_these) => found,
                _ = interrupts.recv() => return Ok(RunSummary::interrupted(frontend)),
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
) -> Result<RunSummary, RunnerError> {
    let count = found.len();
    let mut ends = Ends::new(frontend, count, request.max_fail);
    let accelerator = AcceleratorChoice::detect().accelerator;
    // Nothing boots before all scripts are checked.
    let mut tests = Vec::new();
    for FoundTest {
        selection,
        label,
        test,
    } in found
    {
        let name = label.clone();
        let planned = test.and_then(|test| {
            check_test(request, &test, frontend)?;
            let planned = PlannedTest::new(request, selection, label, test);
            planned.demand(accelerator).check(&request.resources)?;
            Ok(planned)
        });
        match planned {
            Ok(planned) => tests.push(planned),
            Err(error) => {
                if ends.add(not_run(selection, &name, error))?.is_break() {
                    return Ok(ends.finish());
                }
            }
        }
    }
    let begin = Instant::now();
    let run_folder = match tests.as_slice() {
        [only] if count == 1 => request.output.of_one(&only.test.name),
        _ => request.output.of_many(),
    };
    let run_folder =
        absolute(run_folder).map_err(RunnerError::host("cannot tell where the output goes"))?;
    let mut shown = Shown::All;
    for planned in tests {
        let folder = if count == 1 {
            run_folder.clone()
        } else {
            run_folder.join(file_name(&planned.label))
        };
        if let Some(warning) = planned.warning() {
            announce(frontend, Event::note(Level::Warning, warning))?;
        }
        let started_s = round(begin.elapsed().as_secs_f64());
        let attempts = run_attempts(request, &planned, &folder, frontend, interrupts).await;
        let end = match attempts {
            Ok((mut attempts, seen)) => {
                shown = seen;
                for attempt in &mut attempts {
                    attempt.folder = relative(&attempt.folder, &run_folder);
                }
                planned.end(attempts, started_s)
            }
            Err(error) => planned.failed(error),
        };
        if ends.add(end)?.is_break() {
            break;
        }
    }
    let summary = ends.finish();
    let only = summary.results.tests.first().filter(|_| count == 1);
    for text in only.map(closing_lines).unwrap_or_default() {
        if shown == Shown::All {
            announce(frontend, Event::note(Level::Info, text))?;
        }
    }
    let path = write_reports(&run_folder, &summary.results, &request.project.history)?;
    if count > 1 {
        show_results(frontend, &summary.results, path)?;
    } else {
        announce_report(frontend, path, shown, interrupts).await?;
    }
    Ok(summary)
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
fn closing_lines(test: &TestResult) -> Vec<String> {
    let count = test.attempts.len();
    let verdicts = test.attempts.iter().map(|attempt| attempt.verdict);
    let counts: Vec<String> = Outcome::count(verdicts.map(Outcome::of_verdict))
        .into_iter()
        .map(|(count, outcome)| format!("{count} {}", outcome.name()))
        .collect();
    let counts = counts.join(", ");
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
