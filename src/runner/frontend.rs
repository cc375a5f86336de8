//! What a runner needs of the program around it.

use super::error::RunnerError;
use crate::language::check::Finding;
use crate::report::Report;
use crate::source_map::SourceMap;

/// Shows runs to the user.
pub trait Frontend: Sync {
    /// Returns a display for the events of one run.
    fn display(&self) -> Box<dyn Report>;

    /// Returns a display for the events of several tests that run side by side.
    fn display_of_many(&self) -> Box<dyn Report>;

    /// Shows findings of the check of a script, before anything is built.
    fn show_findings(&self, findings: &[Finding], source_map: &SourceMap);

    /// Shows the error of a run that another one will follow.
    fn show_error(&self, error: &RunnerError);

    /// Shows what does not change the end of a run.
    fn show_warning(&self, text: &str);
}
