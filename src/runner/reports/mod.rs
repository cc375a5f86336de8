//! The reports on runs, from the first event to the last.

pub(super) mod of_run;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::event::Event;
use crate::model::outcome::RunResults;
use crate::report::{Output, Report, Reports, SharedDisplay, Showing};
use crate::runner::error::RunnerError;
use crate::runner::frontend::Frontend;
use crate::runner::interrupts::{InterruptSource, Interrupts};
use crate::session::RunOutcome;

/// How often to look whether a display is done.
const DISPLAY_PAUSE: Duration = Duration::from_millis(5);

/// How long after a signal the end of a run is still shown: a reader that reads gets it whole.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Starts to report on a run.
pub(super) fn start(
    display: Box<dyn Report>,
    output: Option<Output>,
) -> Result<Reports, RunnerError> {
    Reports::start(display, output).map_err(no_thread())
}

/// For `map_err`.
pub(super) fn no_thread() -> impl FnOnce(std::io::Error) -> RunnerError {
    RunnerError::host("cannot start the threads of the reports")
}

/// Shows an event outside a run.
pub(super) fn announce(frontend: &dyn Frontend, event: Event) -> Result<(), RunnerError> {
    let reports = start(frontend.display(), None)?;
    reports.events.emit(event);
    let (_, showing) = reports.end().map_err(stdout_lost)?;
    showing.finish().map_err(stdout_lost)
}

/// Shows how the tests of a run have ended, and where the report is.
///
/// # Errors
/// Returns an error if it cannot be shown.
pub fn show_results(
    frontend: &dyn Frontend,
    results: &RunResults,
    report: PathBuf,
) -> Result<(), RunnerError> {
    let (display, showing) = SharedDisplay::start(frontend.display()).map_err(no_thread())?;
    let output = report.parent().unwrap_or(Path::new("")).to_owned();
    let results = Box::new(results.clone());
    display.emit(None, Event::RunFinished { results, output });
    display.emit(None, Event::ReportWritten { path: report });
    drop(display);
    showing.finish().map_err(stdout_lost)
}

/// How much of a run its reader has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    All,
    /// The user did not want to wait for the reader.
    NotAll,
}

/// A run that is over.
#[derive(Debug)]
pub(super) struct FinishedRun {
    pub outcome: RunOutcome,
    /// An error if standard output could not be written: that changes no verdict, and reports are written all the same.
    pub shown: Result<Shown, RunnerError>,
}

/// Ends the reports on a run: the files are whole then, and all is shown
/// unless the user does not want to wait for it.
///
/// # Errors
/// Returns the error of the run; if it has none, the error of its output.
pub(super) async fn finish(
    reports: Reports,
    result: Result<RunOutcome, RunnerError>,
    interrupts: &mut Interrupts,
) -> Result<FinishedRun, RunnerError> {
    let (output, showing) = reports.end().map_err(stdout_lost)?;
    let written = output.map_or(Ok(()), Output::finish);
    let shown = wait_until_shown(showing, interrupts).await;
    let outcome = result?;
    written.map_err(|source| RunnerError::OutputLost {
        source,
        verdict: outcome.verdict,
    })?;
    Ok(FinishedRun { outcome, shown })
}

/// Waits until all is shown, unless its reader has gone. A signal ends
/// the wait, soon; a second one at once.
///
/// # Errors
/// Returns an error if it could not be written.
pub async fn wait_until_shown(
    showing: Showing,
    interrupts: &mut impl InterruptSource,
) -> Result<Shown, RunnerError> {
    let finished = async {
        while !showing.is_finished() {
            tokio::time::sleep(DISPLAY_PAUSE).await;
        }
    };
    let given_up = async {
        interrupts.next().await;
        let _ = tokio::time::timeout(LAST_WORDS, interrupts.next()).await;
    };
    tokio::select! {
        biased;
        () = finished => {}
        () = given_up => return Ok(Shown::NotAll),
    }
    showing.finish().map_err(stdout_lost)?;
    Ok(Shown::All)
}

/// Ends the reports on a test of a run, whose display goes on.
pub(super) fn close(reports: Reports) -> Result<(), RunnerError> {
    let (output, _) = reports.end().map_err(stdout_lost)?;
    Ok(output.map_or(Ok(()), Output::finish)?)
}

pub(super) fn stdout_lost(source: std::io::Error) -> RunnerError {
    RunnerError::host("cannot write to standard output")(source)
}
