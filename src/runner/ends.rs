//! How the tests of a run have ended, one after another.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use super::error::RunnerError;
use super::frontend::Frontend;
use crate::model::event::Verdict;

/// How one test has ended.
#[derive(Debug)]
pub struct TestEnd {
    /// What the test is called among those of its file.
    pub label: String,
    /// Its verdict, or why there is none.
    pub result: Result<Verdict, RunnerError>,
}

impl TestEnd {
    /// Whether the test has passed.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        matches!(self.result, Ok(Verdict::Passed | Verdict::SessionClosed))
    }
}

/// Collects the ends of tests, and says when it is enough.
pub(super) struct Ends<'a> {
    frontend: &'a dyn Frontend,
    /// How many tests there are.
    count: usize,
    /// After how many that have not passed the others are left out.
    max_fail: Option<NonZeroUsize>,
    collected: Vec<TestEnd>,
}

impl<'a> Ends<'a> {
    pub fn new(frontend: &'a dyn Frontend, count: usize, max_fail: Option<NonZeroUsize>) -> Self {
        Self {
            frontend,
            count,
            max_fail,
            collected: Vec::new(),
        }
    }

    /// Adds an end. One of several tests that cannot be run is shown, and the next one follows.
    ///
    /// # Errors
    /// When the test is the only one, or its error is one of the host, which others would have, too.
    pub fn add(
        &mut self,
        label: &str,
        result: Result<Verdict, RunnerError>,
    ) -> Result<ControlFlow<()>, RunnerError> {
        let result = match result {
            Err(error) if self.count == 1 || !error.is_of_one_test() => return Err(error),
            Err(error) => {
                let error = error.of_test(label);
                self.frontend.show_error(&error);
                Err(error)
            }
            Ok(verdict) => Ok(verdict),
        };
        let is_interrupted = matches!(result, Ok(Verdict::Interrupted));
        self.collected.push(TestEnd {
            label: label.to_owned(),
            result,
        });
        let not_passed = self.collected.iter().filter(|end| !end.is_passed()).count();
        let is_enough = self.max_fail.is_some_and(|most| not_passed >= most.get());
        Ok(if is_interrupted || is_enough {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    /// All that were added, and how many tests there are.
    pub fn finish(self) -> RunSummary {
        RunSummary {
            ends: self.collected,
            count: self.count,
        }
    }
}

/// The end of all tests of a run.
#[derive(Debug)]
pub struct RunSummary {
    /// In the order in which they ended.
    pub ends: Vec<TestEnd>,
    /// How many tests were meant; those without an end were left out.
    pub count: usize,
}

impl RunSummary {
    /// What is said of a run that was interrupted before its tests were known.
    pub(super) fn interrupted() -> Self {
        let end = TestEnd {
            label: String::new(),
            result: Ok(Verdict::Interrupted),
        };
        Self {
            ends: vec![end],
            count: 1,
        }
    }
}
