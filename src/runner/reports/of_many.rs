//! The output folder and the display of a run of several tests.

use std::path::Path;

use super::{Shown, no_thread, wait_until_shown};
use crate::history;
use crate::model::event::Event;
use crate::model::outcome::RunResults;
use crate::report::{RunFolder, SharedDisplay, Showing};
use crate::runner::error::RunnerError;
use crate::runner::find_tests::Expected;
use crate::runner::frontend::Frontend;
use crate::runner::interrupts::Interrupts;
use crate::runner::request::RunRequest;

/// Until the run ends.
#[derive(Debug)]
pub(in crate::runner) struct RunReports {
    folder: RunFolder,
    /// Clones of it have to be gone when the run ends.
    pub display: SharedDisplay,
    showing: Showing,
}

impl RunReports {
    /// Takes the output folder, and starts to show the run.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be had, or the system has no thread to give.
    pub fn start(request: &RunRequest, frontend: &dyn Frontend) -> Result<Self, RunnerError> {
        Self::of_folder(RunFolder::claim(&request.output.of_many())?, frontend)
    }

    /// Starts to show a run whose folder is taken.
    ///
    /// # Errors
    /// Returns an error if the system has no thread to give.
    pub fn of_folder(folder: RunFolder, frontend: &dyn Frontend) -> Result<Self, RunnerError> {
        let (display, showing) = SharedDisplay::start(frontend.display()).map_err(no_thread())?;
        Ok(Self {
            folder,
            display,
            showing,
        })
    }

    /// The output folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes what is true of the run until it has ended.
    ///
    /// # Errors
    /// Returns an error if it cannot be written.
    pub fn begin(&self, unfinished: &RunResults) -> Result<(), RunnerError> {
        Ok(self.folder.begin(unfinished)?)
    }

    /// Shows how the tests have ended, writes the reports, and remembers the ends.
    ///
    /// # Errors
    /// Why the run has not `ended` by itself; else when the reports cannot be written, or not all be shown.
    pub async fn conclude(
        self,
        ended: Result<(), RunnerError>,
        results: RunResults,
        request: &RunRequest,
        frontend: &dyn Frontend,
        interrupts: &mut Interrupts,
    ) -> Result<RunResults, RunnerError> {
        let Self {
            folder,
            display,
            showing,
        } = self;
        remember(frontend, &results);
        let folder_path = folder.path().to_owned();
        display.emit(
            None,
            Event::RunFinished {
                results: Box::new(results.clone()),
                output: folder_path.clone(),
            },
        );
        let written = folder.finish(&results, &request.project.history);
        if let Ok(path) = &written {
            display.emit(None, Event::ReportWritten { path: path.clone() });
        }
        drop(display);
        let shown = wait_until_shown(showing, interrupts).await;
        if matches!(shown, Ok(Shown::All)) {
            frontend.annotate(&folder_path, &results);
        }
        ended?;
        shown?;
        written?;
        Ok(results)
    }
}

/// Shows what a run is about to do.
pub(in crate::runner) fn show_start(
    display: &SharedDisplay,
    jobs: usize,
    tests: usize,
    expected: Expected,
) {
    let Expected { all_s, typical_s } = expected;
    display.emit(None, Event::RunStarted { jobs });
    display.emit(
        None,
        Event::TestsFound {
            tests,
            expected_s: all_s,
            typical_s,
        },
    );
}

/// Adds a run to the history. Without it, the run is what it is.
pub(in crate::runner) fn remember(frontend: &dyn Frontend, results: &RunResults) {
    if let Err(error) = history::remember(results) {
        frontend.show_warning(&format!("the history of tests cannot be written: {error}"));
    }
}
