//! The output folder and the display of a run of several tests.

use std::path::Path;

use super::ends::{Ends, RunSummary};
use super::error::RunnerError;
use super::frontend::Frontend;
use super::interrupts::Interrupts;
use super::reporting::{no_thread, wait_until_shown};
use super::request::RunRequest;
use crate::model::event::Event;
use crate::report::{RunFolder, SharedDisplay, Showing};

/// Until the run ends.
#[derive(Debug)]
pub(super) struct RunReports {
    folder: RunFolder,
    /// Clones of it have to be gone when the run ends.
    pub display: SharedDisplay,
    showing: Showing,
}

impl RunReports {
    /// Takes the output folder, and starts to show the run.
    ///
    /// # Errors
    /// When the folder cannot be had, or the system has no thread to give.
    pub fn start(request: &RunRequest, frontend: &dyn Frontend) -> Result<Self, RunnerError> {
        let folder = RunFolder::claim(&request.output.of_many())?;
        let (display, showing) =
            SharedDisplay::start(frontend.display_of_many()).map_err(no_thread())?;
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

    /// Shows how the tests have ended, and writes the reports.
    ///
    /// # Errors
    /// That of the run; if it has none, that of its reports.
    pub async fn conclude(
        self,
        ended: Result<Ends<'_>, RunnerError>,
        request: &RunRequest,
        interrupts: &mut Interrupts,
    ) -> Result<RunSummary, RunnerError> {
        let Self {
            folder,
            display,
            showing,
        } = self;
        let written = ended.map(|ends| {
            let summary = ends.finish();
            let results = Box::new(summary.results.clone());
            let output = folder.path().to_owned();
            display.emit(None, Event::RunFinished { results, output });
            let written = folder.finish(&summary.results, &request.project.history);
            if let Ok(path) = &written {
                display.emit(None, Event::ReportWritten { path: path.clone() });
            }
            (summary, written)
        });
        drop(display);
        wait_until_shown(showing, interrupts).await?;
        let (summary, written) = written?;
        written?;
        Ok(summary)
    }
}
