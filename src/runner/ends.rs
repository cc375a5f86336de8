//! How the tests of a run have ended, one after another.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::error::RunnerError;
use super::frontend::Frontend;
use crate::model::event::{Event, round};
use crate::model::outcome::{Outcome, RESULTS_VERSION, RunResults, TestResult};
use crate::report::SharedDisplay;

/// How one test has ended.
#[derive(Debug)]
pub struct TestEnd {
    pub result: TestResult,
    /// Why there is no verdict.
    pub error: Option<RunnerError>,
}

impl TestEnd {
    /// Returns the end of a test without an error.
    pub fn without_error(result: TestResult) -> Self {
        Self {
            result,
            error: None,
        }
    }
}

/// Collects the ends of tests, and says when it is enough.
pub(super) struct Ends<'a> {
    frontend: &'a dyn Frontend,
    /// How many tests there are. If the only one cannot be run, that is the end.
    count: usize,
    /// After how many that have not passed the others are left out.
    max_fail: Option<NonZeroUsize>,
    collected: Vec<TestResult>,
    is_interrupted: bool,
    begin: Instant,
    started_unix_s: u64,
}

impl<'a> Ends<'a> {
    pub fn new(frontend: &'a dyn Frontend, count: usize, max_fail: Option<NonZeroUsize>) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            frontend,
            count,
            max_fail,
            collected: Vec::new(),
            is_interrupted: false,
            begin: Instant::now(),
            started_unix_s: since_1970.map_or(0, |since| since.as_secs()),
        }
    }

    /// Adds an end. One of several tests that cannot be run is shown, and the others run.
    ///
    /// # Errors
    /// Returns an error if the test is the only one, or its error is one of the host, which others would have, too.
    pub fn add(&mut self, mut end: TestEnd) -> Result<ControlFlow<()>, RunnerError> {
        if let Some(error) = end.error.take() {
            end.result.obstacle = Some(error.obstacle());
            end.result.message = Some(error.report());
            if self.count == 1 || !error.is_of_one_test() {
                self.collected.push(end.result);
                return Err(error);
            }
            let error = error.of_test(&end.result.label);
            self.frontend.show_error(&error);
            end.result.message = Some(error.report());
        }
        let is_interrupted = end.result.outcome == Outcome::Interrupted;
        self.is_interrupted |= is_interrupted;
        self.collected.push(end.result);
        let failures = self.collected.iter();
        let failures = failures.filter(|test| test.counts_as_failure());
        let is_enough = self
            .max_fail
            .is_some_and(|most| failures.count() >= most.get());
        Ok(if is_interrupted || is_enough {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    /// The user has interrupted the run.
    pub fn interrupt(&mut self) {
        self.is_interrupted = true;
    }

    /// Adds an end and shows it among those of several tests.
    ///
    /// # Errors
    /// As for [`Self::add`].
    pub fn add_shown(
        &mut self,
        end: TestEnd,
        display: &SharedDisplay,
    ) -> Result<ControlFlow<()>, RunnerError> {
        let flow = self.add(end)?;
        if let Some(result) = self.collected.last() {
            let ended = Event::TestEnded {
                result: Box::new(result.clone()),
            };
            display.emit(Some(&result.label), ended);
        }
        Ok(flow)
    }

    /// Returns the results that hold until the run has ended, or if it never does.
    pub fn unfinished(&self, tests: Vec<TestResult>) -> RunResults {
        RunResults {
            version: RESULTS_VERSION,
            started_unix_s: self.started_unix_s,
            duration_s: 0.0,
            interrupted: false,
            missing: vec!["the run did not finish".to_owned()],
            tests,
        }
    }

    /// All that were added, in the order in which they ended.
    pub fn finish(self) -> RunResults {
        RunResults {
            version: RESULTS_VERSION,
            started_unix_s: self.started_unix_s,
            duration_s: round(self.begin.elapsed().as_secs_f64()),
            interrupted: self.is_interrupted,
            missing: Vec::new(),
            tests: self.collected,
        }
    }

    /// Returns the results of a run that comes to nothing, for the reason in `result`.
    pub fn only(frontend: &'a dyn Frontend, result: TestResult) -> RunResults {
        let mut ends = Self::new(frontend, 1, None);
        ends.collected.push(result);
        ends.finish()
    }

    /// Returns the results of a run that was interrupted before its tests were known.
    pub fn interrupted(frontend: &'a dyn Frontend) -> RunResults {
        let mut ends = Self::new(frontend, 0, None);
        ends.interrupt();
        ends.finish()
    }
}
