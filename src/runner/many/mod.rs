//! Runs several tests side by side, each in a process of its own.

mod one_test;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, FuturesUnordered, Stream};
use tokio::sync::{Semaphore, broadcast};

use super::attempts::AttemptRule;
use super::checked_test::CheckedTest;
use super::ends::{Ends, TestEnd};
use super::error::RunnerError;
use super::evaluation::{EvalProcesses, FoundTest, evaluate_in_batches};
use super::find_tests::{Expected, FoundTests, evaluate_these};
use super::frontend::Frontend;
use super::interrupts::Interrupts;
use super::reports::of_many::{RunReports, show_start};
use super::request::{Resources, RunRequest};
use super::schedule::{Budget, Demand, Schedule};
use crate::model::event::{Event, Level};
use crate::model::outcome::{RunResults, TestResult};
use crate::nix_cli::Test;
use crate::qemu::AcceleratorChoice;
use crate::report::SharedDisplay;
use crate::session::Interrupt;

/// How often to look whether the host can take one more test.
const PAUSE: Duration = Duration::from_millis(250);

/// How many tests at most are built at a time.
const MOST_BUILDS: usize = 4;

/// How many tests at most are built ahead and wait for their turn: as many again of each group, which may be crowded.
const MOST_WAITING: usize = 64;

/// State that all tests of a run share.
struct Run<'a> {
    request: &'a RunRequest,
    folder: PathBuf,
    display: SharedDisplay,
    schedule: Schedule,
    budget: Budget,
    /// For tests that do not run yet: those of each group with a limit, and under no name all others.
    waiting: BTreeMap<String, Semaphore>,
    /// For tests that are built.
    building: Semaphore,
    interrupts: broadcast::Sender<Interrupt>,
    accelerator: AcceleratorChoice,
}

/// Runs the tests that are found; returns how they have ended.
///
/// # Errors
/// Returns an error if the host fails.
pub(super) async fn run_side_by_side(
    request: &RunRequest,
    found: FoundTests<'_>,
    processes: EvalProcesses,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<RunResults, RunnerError> {
    let reports = RunReports::start(request, frontend)?;
    let budget = Budget::new(&request.resources);
    let run = Run {
        request,
        folder: reports.path().to_owned(),
        display: reports.display.clone(),
        schedule: Schedule::new(budget.clone()),
        waiting: places_to_wait(&request.resources),
        building: Semaphore::new(budget.most_jobs().min(MOST_BUILDS)),
        budget,
        interrupts: broadcast::channel(16).0,
        accelerator: AcceleratorChoice::detect(),
    };
    let mut ends = Ends::new(frontend, found.count(), request.max_fail);
    reports.begin(&ends.unfinished(found.left_out()))?;
    let ended = run
        .all(found, processes, &mut ends, frontend, interrupts)
        .await;
    drop(run);
    let results = ends.finish();
    reports
        .conclude(ended, results, request, frontend, interrupts)
        .await
}

fn places_to_wait(resources: &Resources) -> BTreeMap<String, Semaphore> {
    let groups = resources.groups.keys().cloned();
    let names = groups.chain([String::new()]);
    names
        .map(|name| (name, Semaphore::new(MOST_WAITING)))
        .collect()
}

impl Run<'_> {
    async fn all(
        &self,
        found: FoundTests<'_>,
        processes: EvalProcesses,
        ends: &mut Ends<'_>,
        frontend: &dyn Frontend,
        interrupts: &mut Interrupts,
    ) -> Result<(), RunnerError> {
        let count = found.count();
        let jobs = self.budget.most_jobs().min(count);
        // How often a test is repeated may depend on how it ends.
        let expected = match self.request.attempts {
            Some(AttemptRule::Repeat(_)) => Expected::default(),
            Some(AttemptRule::Retry(_)) | None => found.expected(&self.request.project),
        };
        show_start(&self.display, jobs, count, expected);
        let mut unseen: BTreeMap<String, TestResult> = found
            .left_out()
            .into_iter()
            .map(|result| (result.label.clone(), result))
            .collect();
        if self.request.resources.memory_mib.is_none() && matches!(found, FoundTests::Named(_)) {
            self.schedule.reserve(processes.memory_of_all_mib());
        }
        let evaluated = self.evaluated(found, processes);
        tokio::pin!(evaluated);
        let mut is_evaluating = true;
        let mut fault = None;
        let mut running = FuturesUnordered::new();
        loop {
            let mut ended = Vec::new();
            tokio::select! {
                batch = evaluated.next(), if is_evaluating => {
                    is_evaluating = batch.is_some();
                    for test in batch.into_iter().flatten() {
                        unseen.remove(&test.label);
                        match self.checked(test, frontend) {
                            Ok(checked) => running.push(self.one(checked)),
                            Err(end) => ended.push(*end),
                        }
                    }
                }
                end = running.next(), if !running.is_empty() => ended.extend(end),
                Some(interrupt) = interrupts.recv() => {
                    ends.interrupt();
                    self.stop(interrupt);
                }
                () = tokio::time::sleep(PAUSE) => {}
            }
            for end in ended {
                if let Err(error) = self.end(ends, end) {
                    self.stop(Interrupt::Terminate);
                    // What is wrong with the others may be the same.
                    fault.get_or_insert(error);
                }
            }
            // Only now: an end may have closed the schedule.
            self.schedule.grant();
            if self.schedule.is_closed() {
                is_evaluating = false;
            }
            if !is_evaluating {
                self.schedule.reserve(0);
            }
            if !is_evaluating && running.is_empty() {
                break;
            }
        }
        // Those that were to be evaluated later.
        for result in unseen.into_values() {
            self.end(ends, TestEnd::without_error(result))?;
        }
        fault.map_or(Ok(()), Err)
    }

    /// The tests as they are evaluated: first those that take longest.
    fn evaluated<'a>(
        &'a self,
        found: FoundTests<'a>,
        processes: EvalProcesses,
    ) -> Pin<Box<dyn Stream<Item = Vec<FoundTest<'a, Test>>> + 'a>> {
        match found {
            FoundTests::Evaluated(mut found) => {
                let expected = |found: &FoundTest<'_, Test>| {
                    found
                        .expected_s(&self.request.project)
                        .unwrap_or(f64::INFINITY)
                };
                found.sort_by(|left, right| expected(right).total_cmp(&expected(left)));
                Box::pin(stream::iter([found]))
            }
            FoundTests::Named(named) => {
                let project = &self.request.project;
                Box::pin(evaluate_in_batches(
                    named,
                    processes,
                    project,
                    evaluate_these,
                ))
            }
        }
    }

    /// Where a test waits for its turn.
    fn place_to_wait(&self, checked: &CheckedTest<'_>) -> Option<&Semaphore> {
        let groups = checked.policy.groups.iter().map(String::as_str);
        let mut names = groups.chain([""]);
        names.find_map(|name| self.waiting.get(name))
    }

    fn begin_no_more(&self) {
        self.schedule.close();
        self.waiting.values().for_each(Semaphore::close);
        self.building.close();
    }

    /// Has no more tests begin, and those end that run.
    fn stop(&self, interrupt: Interrupt) {
        self.begin_no_more();
        let _ = self.interrupts.send(interrupt);
    }

    /// Reports an end; the last one that is allowed has no more tests begin.
    fn end(&self, ends: &mut Ends<'_>, end: TestEnd) -> Result<(), RunnerError> {
        if ends.add_shown(end, &self.display)?.is_break() {
            self.begin_no_more();
        }
        Ok(())
    }

    /// Checks a test before it is run.
    fn checked<'a>(
        &self,
        found: FoundTest<'a, Test>,
        frontend: &dyn Frontend,
    ) -> Result<CheckedTest<'a>, Box<TestEnd>> {
        let checked = CheckedTest::of_found(self.request, found, frontend)?;
        let demand = self.demand(&checked);
        if let Err(error) = demand.check(&self.request.resources) {
            return Err(Box::new(checked.failed(error)));
        }
        let warnings = checked.policy.warning().into_iter();
        for warning in warnings.chain(self.budget.warning(&demand)) {
            let note = Event::note(Level::Warning, warning);
            self.display.emit(Some(&checked.label), note);
        }
        Ok(checked)
    }

    fn demand(&self, checked: &CheckedTest<'_>) -> Demand {
        checked.demand(self.accelerator.accelerator)
    }
}
