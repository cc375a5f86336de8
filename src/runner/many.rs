//! Runs several tests side by side, each in a process of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::{self, FuturesUnordered, Stream};
use tokio::sync::{Semaphore, broadcast};

use super::apart::{ApartEnd, TestPlan, run_apart};
use super::ends::{Ends, RunSummary, TestEnd};
use super::error::RunnerError;
use super::evaluation::{EvalProcesses, FoundTest, evaluate_in_batches};
use super::frontend::Frontend;
use super::interrupts::Interrupts;
use super::plan::{FoundTests, evaluate_these};
use super::planned::{PlannedTest, not_run, relative};
use super::reporting::{no_thread, stdout_lost};
use super::request::{RunRequest, TestSettings, file_name};
use super::run_reports::RunReports;
use super::schedule::{Budget, Demand, Schedule};
use super::survey::NamedTest;
use super::test_run::{check_test, is_certain, run_settings};
use crate::model::event::{Event, Level, Verdict, round};
use crate::model::outcome::{Attempt, Outcome, TestResult};
use crate::nix_cli::{self, Test};
use crate::qemu::AcceleratorChoice;
use crate::report::{Output, Reports, SharedDisplay};
use crate::session::{Interrupt, ReplayMode};

/// How often to look whether the host can take one more test.
const PAUSE: Duration = Duration::from_millis(250);

/// How many tests at most are built, or wait for their turn, beside those that run.
const BUILT_AHEAD: usize = 4;

/// What all tests of a run share.
struct Run<'a> {
    request: &'a RunRequest,
    folder: PathBuf,
    display: SharedDisplay,
    schedule: Schedule,
    budget: Budget,
    /// For tests that are built, or wait with what is built for their turn.
    building: Semaphore,
    interrupts: broadcast::Sender<Interrupt>,
    accelerator: AcceleratorChoice,
}

/// Runs the tests that are found; returns how they have ended.
///
/// # Errors
/// When the host fails.
pub(super) async fn run_side_by_side(
    request: &RunRequest,
    found: FoundTests<'_>,
    processes: EvalProcesses,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<RunSummary, RunnerError> {
    let reports = RunReports::start(request, frontend)?;
    let budget = Budget::new(&request.resources);
    let run = Run {
        request,
        folder: reports.path().to_owned(),
        display: reports.display.clone(),
        schedule: Schedule::new(budget.clone()),
        building: Semaphore::new(budget.most_jobs().min(BUILT_AHEAD)),
        budget,
        interrupts: broadcast::channel(16).0,
        accelerator: AcceleratorChoice::detect(),
    };
    let ended = run.all(found, processes, frontend, interrupts).await;
    drop(run);
    reports.conclude(ended, request, interrupts).await
}

impl Run<'_> {
    async fn all<'f>(
        &self,
        found: FoundTests<'_>,
        processes: EvalProcesses,
        frontend: &'f dyn Frontend,
        interrupts: &mut Interrupts,
    ) -> Result<Ends<'f>, RunnerError> {
        let count = found.count();
        let mut ends = Ends::new(frontend, count, self.request.max_fail);
        let jobs = self.budget.most_jobs().min(count);
        self.display.emit(None, Event::RunStarted { jobs });
        let expected_s = found.expected_s(&self.request.project);
        self.display.emit(
            None,
            Event::TestsFound {
                tests: count,
                expected_s,
            },
        );
        let mut unseen: BTreeMap<String, TestResult> = found
            .left_out()
            .into_iter()
            .map(|result| (result.label.clone(), result))
            .collect();
        let evaluated = self.evaluated(found, processes);
        tokio::pin!(evaluated);
        let mut is_evaluating = true;
        let mut running = FuturesUnordered::new();
        loop {
            let mut ended = Vec::new();
            tokio::select! {
                batch = evaluated.next(), if is_evaluating => {
                    is_evaluating = batch.is_some();
                    for test in batch.into_iter().flatten() {
                        unseen.remove(&test.label);
                        match self.planned(test, frontend) {
                            Ok(planned) => running.push(self.one(planned)),
                            Err(end) => ended.push(*end),
                        }
                    }
                }
                end = running.next(), if !running.is_empty() => {
                    self.schedule.grant();
                    ended.extend(end);
                }
                Some(interrupt) = interrupts.recv() => {
                    ends.interrupt();
                    self.stop(interrupt);
                }
                () = tokio::time::sleep(PAUSE) => self.schedule.grant(),
            }
            for end in ended {
                if let Err(error) = self.end(&mut ends, end) {
                    self.stop(Interrupt::Terminate);
                    while running.next().await.is_some() {}
                    return Err(error);
                }
            }
            if self.schedule.is_closed() {
                is_evaluating = false;
            }
            if !is_evaluating && running.is_empty() {
                break;
            }
        }
        // Those that were to be evaluated later.
        for result in unseen.into_values() {
            self.end(
                &mut ends,
                TestEnd {
                    result,
                    error: None,
                },
            )?;
        }
        Ok(ends)
    }

    /// The tests as they are evaluated: first those that take longest.
    fn evaluated<'a>(
        &self,
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
            FoundTests::Named(mut named) => {
                let expected = |test: &NamedTest<'_>| {
                    test.expected_s(&self.request.project)
                        .unwrap_or(f64::INFINITY)
                };
                named.sort_by(|left, right| expected(right).total_cmp(&expected(left)));
                Box::pin(evaluate_in_batches(named, processes, evaluate_these))
            }
        }
    }

    /// Has no more tests begin, and those end that run.
    fn stop(&self, interrupt: Interrupt) {
        self.schedule.close();
        self.building.close();
        let _ = self.interrupts.send(interrupt);
    }

    /// Reports an end; the last one that is allowed has no more tests begin.
    fn end(&self, ends: &mut Ends<'_>, end: TestEnd) -> Result<(), RunnerError> {
        let label = end.result.label.clone();
        let enough = ends.add(end)?.is_break();
        if let Some(end) = ends.last() {
            let result = Box::new(end.result.clone());
            self.display.emit(Some(&label), Event::TestEnded { result });
        }
        if enough {
            self.schedule.close();
            self.building.close();
        }
        Ok(())
    }

    /// Checks a test before it is run.
    fn planned<'a>(
        &self,
        found: FoundTest<'a, Test>,
        frontend: &dyn Frontend,
    ) -> Result<PlannedTest<'a>, Box<TestEnd>> {
        let FoundTest {
            selection,
            label,
            test,
        } = found;
        let checked = test.and_then(|test| {
            check_test(self.request, &test, frontend)?;
            Ok(test)
        });
        let test = match checked {
            Ok(test) => test,
            Err(error) => return Err(Box::new(not_run(selection, &label, error))),
        };
        let planned = PlannedTest::new(self.request, selection, label, test);
        let needs = self.demand(&planned).memory_mib;
        if self
            .request
            .resources
            .memory_mib
            .is_some_and(|most| most < needs)
        {
            let error = RunnerError::Memory {
                needs_mib: needs,
                budget_mib: self.budget.memory_mib,
            };
            return Err(Box::new(planned.failed(error)));
        }
        if let Some(expired) = &planned.policy.expired {
            let until = expired.until.as_deref().unwrap_or_default();
            let warning = format!(
                "its quarantine has ended on {until} ({}): the test counts again",
                expired.reason
            );
            self.warn(&planned.label, warning);
        }
        Ok(planned)
    }

    fn warn(&self, label: &str, text: String) {
        let note = Event::Note {
            machine: None,
            level: Level::Warning,
            text,
        };
        self.display.emit(Some(label), note);
    }

    fn demand(&self, planned: &PlannedTest<'_>) -> Demand {
        let groups = planned.policy.groups.clone();
        Demand::of(&planned.test.manifest, self.accelerator.accelerator, groups)
    }

    /// Builds a test and runs it in its turn.
    async fn one(&self, planned: PlannedTest<'_>) -> TestEnd {
        let mut interrupts = self.interrupts.subscribe();
        let ended = self.attempts(&planned, &mut interrupts).await;
        match ended {
            Ok(end) => end,
            Err(error) => planned.failed(error),
        }
    }

    async fn attempts(
        &self,
        planned: &PlannedTest<'_>,
        interrupts: &mut broadcast::Receiver<Interrupt>,
    ) -> Result<TestEnd, RunnerError> {
        let left_out = || planned.end(Vec::new(), self.display.time_s());
        let Ok(place) = self.building.acquire().await else {
            return Ok(left_out());
        };
        let folder = self.folder.join(file_name(&planned.label));
        let output = Output::create(&folder, &planned.test.name)?;
        let root = output.root();
        let mut reports = self.report(&planned.label, output)?;
        let built = {
            let emit = |event| reports.events.emit(event);
            let nix = &planned.selection.nix;
            tokio::select! {
                built = nix_cli::realise(nix, &planned.test.derivation, &root, &emit) => Some(built),
                _ = interrupts.recv() => None,
            }
        };
        match built {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                close(reports)?;
                return Err(error.into());
            }
            None => {
                close(reports)?;
                let mut end = left_out();
                end.result.outcome = Outcome::Interrupted;
                return Ok(end);
            }
        }
        let turn = self
            .schedule
            .turn(self.demand(planned), planned.expected_s)
            .await;
        drop(place);
        if turn.is_none() {
            close(reports)?;
            return Ok(left_out());
        }
        let begin = Instant::now();
        let started_s = self.display.time_s();
        let mut attempts = Vec::new();
        let mut is_leaky = false;
        let mut at = folder.clone();
        loop {
            let start = Instant::now();
            let ApartEnd { outcome, leaky } =
                self.attempt(planned, &at, reports, interrupts).await?;
            is_leaky |= leaky;
            attempts.push(Attempt {
                verdict: outcome.verdict,
                duration_s: round(start.elapsed().as_secs_f64()),
                folder: relative(&at, &self.folder),
            });
            if self.schedule.is_closed() || !planned.rule.continues(&attempts, begin) {
                break;
            }
            if outcome.verdict != Verdict::Passed {
                self.announce_retry(planned, attempts.len());
            }
            at = planned.rule.folder(&folder, &attempts);
            let output = Output::create(&at, &planned.test.name)?;
            reports = self.report(&planned.label, output)?;
        }
        drop(turn);
        let mut end = planned.end(attempts, started_s);
        end.result.leaky = is_leaky;
        Ok(end)
    }

    /// One attempt, whose reports are whole at its end.
    async fn attempt(
        &self,
        planned: &PlannedTest<'_>,
        folder: &Path,
        reports: Reports,
        interrupts: &mut broadcast::Receiver<Interrupt>,
    ) -> Result<ApartEnd, RunnerError> {
        let settings = planned.settings(self.request);
        let ended = self
            .once(planned, &settings, folder, reports, None, interrupts)
            .await?;
        let verdict = ended.outcome.verdict;
        if is_certain(&settings, ended.outcome) {
            return Ok(ended);
        }
        let cold = TestSettings {
            replay: ReplayMode::Disabled,
            ..settings
        };
        let output = Output::create(folder, &planned.test.name)?;
        let reports = self.report(&planned.label, output)?;
        self.once(planned, &cold, folder, reports, Some(verdict), interrupts)
            .await
    }

    /// One run of a test; its events say whether it `verifies` a verdict from a checkpoint.
    async fn once(
        &self,
        planned: &PlannedTest<'_>,
        settings: &TestSettings,
        folder: &Path,
        reports: Reports,
        verifies: Option<Verdict>,
        interrupts: &mut broadcast::Receiver<Interrupt>,
    ) -> Result<ApartEnd, RunnerError> {
        let test = &planned.test;
        for note in &test.notes {
            reports.events.note(Level::Info, note.clone());
        }
        let source_map = test.source_map().into();
        let settings = run_settings(&test.manifest, source_map, settings, folder.to_owned());
        let plan = TestPlan::new(test, &settings);
        let events = reports.events.clone();
        let run = run_apart(&plan, &events, interrupts);
        tokio::pin!(run);
        let slow = planned.policy.slow_timeout.unwrap_or(Duration::MAX);
        let ended = tokio::select! {
            ended = &mut run => ended,
            () = tokio::time::sleep(slow) => {
                let after_s = slow.as_secs_f64();
                events.emit(Event::Slow { after_s });
                run.await
            }
        };
        if let (Ok(end), Some(from_checkpoint)) = (&ended, verifies) {
            let cold = end.outcome.verdict;
            events.emit(Event::Verified {
                from_checkpoint,
                cold,
            });
        }
        close(reports)?;
        ended
    }

    fn announce_retry(&self, planned: &PlannedTest<'_>, done: usize) {
        let (Some(attempts), Ok(done)) = (planned.rule.most(), u32::try_from(done)) else {
            return;
        };
        let event = Event::Retrying {
            attempt: done + 1,
            attempts,
        };
        self.display.emit(Some(&planned.label), event);
    }

    fn report(&self, label: &str, output: Output) -> Result<Reports, RunnerError> {
        Reports::of_one(&self.display, label, Some(output)).map_err(no_thread())
    }
}

/// Ends the reports on a test: its files are whole then.
fn close(reports: Reports) -> Result<(), RunnerError> {
    let (output, _) = reports.end().map_err(stdout_lost)?;
    Ok(output.map_or(Ok(()), Output::finish)?)
}
