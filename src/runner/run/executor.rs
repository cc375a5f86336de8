//! The interface of the places where the tests of a run are run.

use std::convert::Infallible;

use tokio::sync::broadcast;

use super::checked_test::CheckedTest;
use super::ends::TestEnd;
use crate::runner::error::RunnerError;
use crate::runner::found_test::FoundTest;
use crate::runner::reports::of_run::RunReports;
use crate::session::Interrupt;

/// A place where tests run. The loop of a run begins its tests there, and asks it to begin no more.
pub(super) trait Executor {
    /// A test as its evaluation returns it.
    type Work;

    /// How many tests the loop may begin before one of them has ended.
    fn most_at_once(&self) -> usize;

    /// Checks a test before anything of it is built, and shows warnings about it.
    ///
    /// # Errors
    /// Returns the end of the test if it cannot be run.
    fn check<'t>(
        &self,
        found: FoundTest<'t, Self::Work>,
        reports: &RunReports<'_>,
    ) -> Result<CheckedTest<'t, Self::Work>, Box<TestEnd>>;

    /// Runs a test as often as it is to be tried.
    async fn run(
        &self,
        test: CheckedTest<'_, Self::Work>,
        reports: &RunReports<'_>,
        interrupts: broadcast::Receiver<Interrupt>,
    ) -> TestEnd;

    /// Does what tests need beside them, such as a build of all. Returns no value: who waits for the tests drops it.
    ///
    /// # Errors
    /// Returns an error if no test can go on.
    async fn serve(&self, reports: &RunReports<'_>) -> Result<Infallible, RunnerError>;

    /// Begins tests that wait, if the host has room for them now: called when a test has ended, and now and then.
    fn begin_waiting(&self);

    /// Notes that no process evaluates any more.
    fn end_evaluation(&self);

    /// Begins no more tests.
    fn close(&self);

    fn is_closed(&self) -> bool;
}
