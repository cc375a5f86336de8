//! One of several tests: its build, its turn, its attempts.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::broadcast;

use super::Run;
use crate::model::event::{Event, Level, Verdict, round};
use crate::model::outcome::{Attempt, Outcome};
use crate::nix_cli;
use crate::report::{Output, Reports};
use crate::runner::apart::{ApartEnd, TestPlan, run_apart};
use crate::runner::ends::TestEnd;
use crate::runner::error::RunnerError;
use crate::runner::planned::{PlannedTest, relative};
use crate::runner::reporting::{no_thread, stdout_lost};
use crate::runner::request::{TestSettings, file_name};
use crate::runner::schedule::Turn;
use crate::runner::test_run::{is_certain, run_settings};
use crate::session::{Interrupt, ReplayMode};

/// Whether a test begins.
enum Start {
    Granted(Turn, Reports),
    Never(Outcome),
}

impl Run<'_> {
    /// Builds a test and runs it in its turn.
    pub(super) async fn one(&self, planned: PlannedTest<'_>) -> TestEnd {
        let mut interrupts = self.interrupts.subscribe();
        let ended = self.attempts(&planned, &mut interrupts).await;
        match ended {
            Ok(end) => end,
            Err(error) => planned.failed(error),
        }
    }

    /// All attempts of a test.
    async fn attempts(
        &self,
        planned: &PlannedTest<'_>,
        interrupts: &mut broadcast::Receiver<Interrupt>,
    ) -> Result<TestEnd, RunnerError> {
        let folder = self.folder.join(file_name(&planned.label));
        let (turn, mut reports) = match self.built(planned, &folder, interrupts).await? {
            Start::Granted(turn, reports) => (turn, reports),
            Start::Never(outcome) => {
                let mut end = planned.end(Vec::new(), self.display.time_s());
                end.result.outcome = outcome;
                return Ok(end);
            }
        };
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
            reports = self.report(planned, &at)?;
        }
        drop(turn);
        let mut end = planned.end(attempts, started_s);
        end.result.leaky = is_leaky;
        Ok(end)
    }

    /// Builds a test and waits for its turn. What the build says is in the reports of its first attempt.
    async fn built(
        &self,
        planned: &PlannedTest<'_>,
        folder: &Path,
        interrupts: &mut broadcast::Receiver<Interrupt>,
    ) -> Result<Start, RunnerError> {
        let Ok(_place) = self.waiting.acquire().await else {
            return Ok(Start::Never(Outcome::LeftOut));
        };
        let Ok(building) = self.building.acquire().await else {
            return Ok(Start::Never(Outcome::LeftOut));
        };
        let output = Output::create(folder, &planned.test.name)?;
        let root = output.root();
        let reports = self.report_to(planned, output)?;
        let built = {
            let emit = |event| reports.events.emit(event);
            let nix = &planned.selection.nix;
            tokio::select! {
                built = nix_cli::realise(nix, &planned.test.derivation, &root, &emit) => Some(built),
                _ = interrupts.recv() => None,
            }
        };
        drop(building);
        if let Some(Ok(())) = built {
            let demand = self.demand(planned);
            let turn = self.schedule.turn(demand, planned.expected_s).await;
            if let Some(turn) = turn {
                return Ok(Start::Granted(turn, reports));
            }
        }
        close(reports)?;
        match built {
            Some(Ok(())) => Ok(Start::Never(Outcome::LeftOut)),
            Some(Err(error)) => Err(error.into()),
            None => Ok(Start::Never(Outcome::Interrupted)),
        }
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
        let reports = self.report(planned, folder)?;
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
        let written = close(reports);
        let ended = ended?;
        match written {
            Err(RunnerError::Output(source)) => Err(RunnerError::OutputLost {
                source,
                verdict: ended.outcome.verdict,
            }),
            other => other.map(|()| ended),
        }
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

    fn report(&self, planned: &PlannedTest<'_>, folder: &Path) -> Result<Reports, RunnerError> {
        self.report_to(planned, Output::create(folder, &planned.test.name)?)
    }

    fn report_to(&self, planned: &PlannedTest<'_>, output: Output) -> Result<Reports, RunnerError> {
        Reports::of_one(&self.display, &planned.label, Some(output)).map_err(no_thread())
    }
}

/// Ends the reports on a test: its files are whole then.
fn close(reports: Reports) -> Result<(), RunnerError> {
    let (output, _) = reports.end().map_err(stdout_lost)?;
    Ok(output.map_or(Ok(()), Output::finish)?)
}
