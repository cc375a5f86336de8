//! One of several tests: its build, its turn, its attempts.

use std::path::Path;

use tokio::sync::broadcast;

use super::Run;
use crate::model::outcome::{Attempt, Outcome};
use crate::nix_cli;
use crate::report::{Output, Reports};
use crate::runner::apart::RunEnd;
use crate::runner::attempts::{AttemptEnd, Next, make_attempts, retry_event};
use crate::runner::checked_test::CheckedTest;
use crate::runner::ends::TestEnd;
use crate::runner::error::RunnerError;
use crate::runner::executor::OwnProcess;
use crate::runner::reports::{no_thread, stdout_lost};
use crate::runner::request::{TestSettings, folder_name};
use crate::runner::schedule::Turn;
use crate::runner::test_run::{Job, verified};
use crate::session::Interrupt;

/// Whether a test begins.
enum Start {
    Granted(Turn, Reports),
    Never(Outcome),
}

impl Run<'_> {
    /// Builds a test and runs it in its turn.
    pub(super) async fn one(&self, checked: CheckedTest<'_>) -> TestEnd {
        let mut interrupts = self.interrupts.subscribe();
        let ended = self.attempts(&checked, &mut interrupts).await;
        match ended {
            Ok(end) => end,
            Err(error) => checked.failed(error),
        }
    }

    /// All attempts of a test.
    async fn attempts(
        &self,
        checked: &CheckedTest<'_>,
        interrupts: &mut broadcast::Receiver<Interrupt>,
    ) -> Result<TestEnd, RunnerError> {
        let folder = self.folder.join(folder_name(&checked.label));
        let (turn, reports) = match self.built(checked, &folder, interrupts).await? {
            Start::Granted(turn, reports) => (turn, reports),
            Start::Never(outcome) => {
                let mut end = checked.left_out();
                end.result.outcome = outcome;
                return Ok(end);
            }
        };
        let started_s = self.display.time_s();
        let mut built = Some(reports);
        let mut is_leaky = false;
        let once = async |at: &Path, earlier: &[Attempt]| {
            if let Some(event) = retry_event(checked.rule, earlier) {
                self.display.emit(Some(&checked.label), event);
            }
            let RunEnd { outcome, leaky } =
                self.attempt(checked, at, built.take(), interrupts).await?;
            is_leaky |= leaky;
            Ok(AttemptEnd {
                verdict: outcome.verdict,
                next: if self.schedule.is_closed() {
                    Next::Never
                } else {
                    Next::ByTheRule
                },
            })
        };
        let attempts = make_attempts(checked.rule, &folder, &self.folder, once).await?;
        drop(turn);
        let mut end = checked.end(attempts, started_s);
        end.result.leaky = is_leaky;
        Ok(end)
    }

    /// Builds a test and waits for its turn. What the build says is in the reports of its first attempt.
    async fn built(
        &self,
        checked: &CheckedTest<'_>,
        folder: &Path,
        interrupts: &mut broadcast::Receiver<Interrupt>,
    ) -> Result<Start, RunnerError> {
        let Some(waiting) = self.place_to_wait(checked) else {
            return Ok(Start::Never(Outcome::LeftOut));
        };
        let Ok(_place) = waiting.acquire().await else {
            return Ok(Start::Never(Outcome::LeftOut));
        };
        let Ok(building) = self.building.acquire().await else {
            return Ok(Start::Never(Outcome::LeftOut));
        };
        let output = Output::create(folder, &checked.test.name)?;
        let root = output.root();
        let reports = self.report_to(checked, output)?;
        let built = {
            let emit = |event| reports.events.emit(event);
            let nix = &checked.selection.nix;
            tokio::select! {
                built = nix_cli::realise(nix, &checked.test.derivation, &root, &emit) => Some(built),
                _ = interrupts.recv() => None,
            }
        };
        drop(building);
        if let Some(Ok(())) = built {
            let demand = self.demand(checked);
            let turn = self.schedule.turn(demand, checked.expected_s).await;
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

    /// Makes an attempt, whose reports are whole at its end: those of the build, if it is the first.
    async fn attempt(
        &self,
        checked: &CheckedTest<'_>,
        folder: &Path,
        mut reports: Option<Reports>,
        interrupts: &mut broadcast::Receiver<Interrupt>,
    ) -> Result<RunEnd, RunnerError> {
        let settings = checked.settings(self.request);
        let once = async |settings: &TestSettings, verifies| {
            let reports = match reports.take() {
                Some(reports) => reports,
                None => self.report(checked, folder).await?,
            };
            let script = checked.test.source_map().into();
            let job = Job::new(&checked.test, script, settings).verifying(verifies);
            run_reported(job, folder, reports, interrupts).await
        };
        verified(&settings, |end: &RunEnd| end.outcome, once).await
    }

    /// The reports of a further run of a test that is built.
    async fn report(
        &self,
        checked: &CheckedTest<'_>,
        folder: &Path,
    ) -> Result<Reports, RunnerError> {
        let output = Output::create(folder, &checked.test.name)?;
        let nix = &checked.selection.nix;
        // The folder of an earlier run was what kept the machines from Nix's garbage collector.
        nix_cli::realise(nix, &checked.test.derivation, &output.root(), &|_| ()).await?;
        self.report_to(checked, output)
    }

    fn report_to(&self, checked: &CheckedTest<'_>, output: Output) -> Result<Reports, RunnerError> {
        Reports::of_one(&self.display, &checked.label, Some(output)).map_err(no_thread())
    }
}

/// Runs a test in a process of its own, and ends its reports.
async fn run_reported(
    job: Job<'_>,
    folder: &Path,
    reports: Reports,
    interrupts: &mut broadcast::Receiver<Interrupt>,
) -> Result<RunEnd, RunnerError> {
    let executor = &mut OwnProcess(interrupts);
    let ended = job
        .execute(folder.to_owned(), &reports.events, executor)
        .await;
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

/// Ends the reports on a test: its files are whole then.
fn close(reports: Reports) -> Result<(), RunnerError> {
    let (output, _) = reports.end().map_err(stdout_lost)?;
    Ok(output.map_or(Ok(()), Output::finish)?)
}
