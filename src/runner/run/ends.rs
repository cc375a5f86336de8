//! How the tests of a run have ended, one after another.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::model::event::round;
use crate::model::outcome::{Outcome, RESULTS_VERSION, RunResults, TestResult};
use crate::runner::error::RunnerError;
use crate::runner::frontend::Frontend;
use crate::runner::reports::of_run::RunReports;
use crate::session::Interrupt;

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
    /// The last request of the user to end the run.
    asked_to_end: Option<Interrupt>,
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
            asked_to_end: None,
            begin: Instant::now(),
            started_unix_s: since_1970.map_or(0, |since| since.as_secs()),
        }
    }

    /// Adds an end and shows it. One of several tests that cannot be run is shown, and the others run.
    ///
    /// # Errors
    /// Returns an error if the test is the only one, or its error is one of the host, which others would have, too.
    pub fn add(
        &mut self,
        mut end: TestEnd,
        reports: &RunReports<'_>,
    ) -> Result<ControlFlow<()>, RunnerError> {
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
        reports.show_end(&end.result);
        let is_interrupted = end.result.outcome == Outcome::Interrupted;
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

    /// Notes that the user has asked for the end of the run.
    pub fn interrupt(&mut self, interrupt: Interrupt) {
        self.asked_to_end = Some(interrupt);
    }

    /// Returns the request that came too late to end a test.
    pub fn late_interrupt(&self) -> Option<Interrupt> {
        self.asked_to_end.filter(|_| !self.is_interrupted())
    }

    /// Whether the user has ended the run before its tests had ended.
    fn is_interrupted(&self) -> bool {
        let mut outcomes = self.collected.iter().map(|test| test.outcome);
        let was_cut = |outcome| match outcome {
            Outcome::Interrupted => true,
            Outcome::LeftOut => self.asked_to_end.is_some(),
            _ => false,
        };
        self.asked_to_end.is_some() && self.count == 0 || outcomes.any(was_cut)
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

    /// Returns the results of the run, in the order in which the tests ended.
    pub fn finish(self) -> RunResults {
        RunResults {
            version: RESULTS_VERSION,
            started_unix_s: self.started_unix_s,
            duration_s: round(self.begin.elapsed().as_secs_f64()),
            interrupted: self.is_interrupted(),
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
        ends.interrupt(Interrupt::CtrlC);
        ends.finish()
    }
}
