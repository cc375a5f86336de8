//! The loop of a run: begins its tests as they are evaluated, and collects their ends.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{FuturesUnordered, Stream};
use tokio::sync::broadcast;

use super::checked_test::CheckedTest;
use super::ends::{Ends, TestEnd};
use super::executor::Executor;
use crate::engine::RunMode;
use crate::model::outcome::TestResult;
use crate::runner::error::RunnerError;
use crate::runner::found_test::FoundTest;
use crate::runner::interrupts::{Interrupts, late_interrupt};
use crate::runner::reports::of_run::RunReports;
use crate::runner::request::RunRequest;
use crate::session::Interrupt;

/// How often to look whether the host can take one more test.
const PAUSE: Duration = Duration::from_millis(250);

/// How many interrupts a test that is slow to end may not have seen.
const MOST_INTERRUPTS: usize = 16;

/// A run whose tests are known by name.
pub(super) struct RunLoop<'a, E> {
    pub request: &'a RunRequest,
    pub reports: &'a RunReports<'a>,
    pub executor: &'a E,
}

impl<E: Executor> RunLoop<'_, E> {
    /// Runs tests as they are `evaluated`, and adds each to `ends`. Those of the `expected` ones that are not evaluated
    /// any more have been left out.
    ///
    /// # Errors
    /// Returns an error if the only test cannot be run, or the host fails.
    pub async fn run<'t>(
        &self,
        evaluated: impl Stream<Item = Vec<FoundTest<'t, E::Work>>>,
        expected: Vec<TestResult>,
        ends: &mut Ends<'_>,
        interrupts: &mut Interrupts,
    ) -> Result<(), RunnerError> {
        let labelled = expected.into_iter().map(|test| (test.label.clone(), test));
        let mut unseen: BTreeMap<String, TestResult> = labelled.collect();
        let (sender, _) = broadcast::channel(MOST_INTERRUPTS);
        tokio::pin!(evaluated);
        let mut is_evaluating = true;
        let mut fault = None;
        let mut checked: VecDeque<CheckedTest<'t, E::Work>> = VecDeque::new();
        let mut running = FuturesUnordered::new();
        loop {
            let mut ended = Vec::new();
            tokio::select! {
                batch = evaluated.next(), if is_evaluating => {
                    is_evaluating = batch.is_some();
                    let batch = batch.unwrap_or_default();
                    let cut = if batch.iter().any(|test| test.test.is_err()) {
                        late_interrupt(interrupts).await
                    } else {
                        None
                    };
                    if let Some(interrupt) = cut {
                        ends.interrupt(interrupt);
                        self.interrupt(interrupt, &sender);
                    }
                    let batch = batch.into_iter();
                    // What an interrupt has ended has been left out.
                    for test in batch.filter(|test| cut.is_none() || test.test.is_ok()) {
                        unseen.remove(&test.label);
                        match self.executor.check(test, self.reports) {
                            Ok(test) => checked.push_back(test),
                            Err(end) => ended.push(*end),
                        }
                    }
                }
                end = running.next(), if !running.is_empty() => ended.extend(end),
                Some(interrupt) = interrupts.recv() => {
                    ends.interrupt(interrupt);
                    self.interrupt(interrupt, &sender);
                }
                () = tokio::time::sleep(PAUSE) => {}
            }
            for end in ended {
                if let Err(error) = self.add(ends, end) {
                    self.executor.close();
                    let _ = sender.send(Interrupt::Terminate);
                    // What is wrong with the others may be the same.
                    fault.get_or_insert(error);
                }
            }
            // Only now: an end may have closed the executor.
            if self.executor.is_closed() {
                is_evaluating = false;
                let left = checked.drain(..).map(|test| test.left_out().result);
                unseen.extend(left.map(|test| (test.label.clone(), test)));
            }
            while running.len() < self.executor.most_at_once()
                && let Some(test) = checked.pop_front()
            {
                // Before an interrupt that the test is to hear of.
                let receiver = sender.subscribe();
                running.push(self.executor.run(test, self.reports, receiver));
            }
            self.executor.begin_waiting();
            if !is_evaluating {
                self.executor.end_evaluation();
            }
            if !is_evaluating && running.is_empty() {
                break;
            }
        }
        for result in unseen.into_values() {
            self.add(ends, TestEnd::without_error(result))?;
        }
        fault.map_or(Ok(()), Err)
    }

    /// Passes an interrupt to the tests that run. No more of them begin, unless a test has the user's terminal: that test
    /// decides what Ctrl-C means there.
    fn interrupt(&self, interrupt: Interrupt, tests: &broadcast::Sender<Interrupt>) {
        if matches!(self.request.settings.mode, RunMode::Script) {
            self.executor.close();
        }
        let _ = tests.send(interrupt);
    }

    /// Adds an end; the last one that is allowed has no more tests begin.
    fn add(&self, ends: &mut Ends<'_>, end: TestEnd) -> Result<(), RunnerError> {
        if ends.add(end, self.reports)?.is_break() {
            self.executor.close();
        }
        Ok(())
    }
}
