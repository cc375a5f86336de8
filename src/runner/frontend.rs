//! The interface of the program around a runner.

use super::error::RunnerError;
use crate::language::check::Finding;
use crate::model::outcome::RunResults;
use crate::report::{Report, RunFailures};
use crate::source_map::SourceMap;

/// Shows runs to the user.
pub trait Frontend: Sync {
    /// Returns a display for the events of one test, or for those of several tests, which have labels.
    fn display(&self) -> Box<dyn Report>;

    /// Says where tests of a run have failed to who shows it in the code, as a CI does.
    fn annotate(&self, results: &RunResults, failures: &RunFailures);

    /// Shows findings of the check of a script, before anything is built.
    fn show_findings(&self, findings: &[Finding], source_map: &SourceMap);

    /// Shows the error of a run that another one will follow.
    fn show_error(&self, error: &RunnerError);

    /// Shows what does not change the end of a run.
    fn show_warning(&self, text: &str);
}
