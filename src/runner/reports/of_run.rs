//! The reports on a run: its output folder, its display, and the files at its end.

use std::collections::HashSet;
use std::path::{Path, PathBuf, absolute};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Shown, close, no_thread, wait_until_shown};
use crate::history;
use crate::model::event::{Event, Level, Record};
use crate::model::outcome::{Obstacle, Outcome, RunResults, TestResult};
use crate::report::{
    Output, Report, Reports, RunFailures, RunFolder, SharedDisplay, Showing, write_reports,
};
use crate::runner::error::RunnerError;
use crate::runner::find_tests::Expected;
use crate::runner::frontend::Frontend;
use crate::runner::interrupts::InterruptSource;
use crate::runner::request::{RunRequest, folder_name};

/// The reports on a run from its start to its end.
#[derive(Debug)]
pub(in crate::runner) struct RunReports<'a> {
    request: &'a RunRequest,
    form: RunForm,
    folder: PathBuf,
    /// The folder of several tests, which no other run can have meanwhile.
    claimed: Option<RunFolder>,
    /// Tests of an earlier run in the folder that stay in its report, unless they run again.
    earlier: Vec<TestResult>,
    /// Clones of it have to be gone when the run ends.
    display: SharedDisplay,
    showing: Showing,
}

/// The form of the reports on a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::runner) enum RunForm {
    /// The output folder is that of the only test, which has this name; the display shows the test and no more.
    OnlyTest(String),
    /// Tests have the user's terminal in turn, and each is shown like an only one.
    InTurn,
    /// Tests run side by side: the display names the test of each event.
    SideBySide,
}

/// The reports on one run of a test, and its output folder.
#[derive(Debug)]
pub(in crate::runner) struct TestReports {
    pub reports: Reports,
    pub folder: PathBuf,
    /// The link by which Nix keeps what the test was made of.
    pub root: PathBuf,
}

/// A display that keeps the end of a test.
#[derive(Debug, Clone, Default)]
pub(in crate::runner) struct LastEvent(Arc<Mutex<Option<Event>>>);

impl LastEvent {
    fn event(&self) -> MutexGuard<'_, Option<Event>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the end of the test.
    pub fn take(&self) -> Option<Event> {
        self.event().take()
    }
}

impl Report for LastEvent {
    fn take(&mut self, record: &Record) {
        if matches!(record.event, Event::TestFinished { .. }) {
            *self.event() = Some(record.event.clone());
        }
    }
}

impl TestReports {
    /// Starts to report on an attempt at a test beside others, whose output goes to `folder`: nothing is displayed, and the
    /// last event is there at the end.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be had, or the system has no thread to give.
    pub fn of_attempt_beside(name: &str, folder: &Path) -> Result<(Self, LastEvent), RunnerError> {
        let output = Output::create(folder, name)?;
        let last = LastEvent::default();
        let reports = Self {
            folder: output.folder().to_owned(),
            root: output.root(),
            reports: Reports::start(Box::new(last.clone()), Some(output)).map_err(no_thread())?,
        };
        Ok((reports, last))
    }

    /// Ends the reports: the files of the test are whole then.
    ///
    /// # Errors
    /// Returns an error if they are not.
    pub fn close(self) -> Result<(), RunnerError> {
        close(self.reports)
    }
}

impl<'a> RunReports<'a> {
    /// Takes the output folder, and starts to show the run.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be had, or the system has no thread to give.
    pub fn start(
        request: &'a RunRequest,
        form: RunForm,
        earlier: Vec<TestResult>,
        frontend: &dyn Frontend,
    ) -> Result<Self, RunnerError> {
        let (folder, claimed) = match &form {
            RunForm::OnlyTest(name) => {
                let folder = absolute(request.output.of_one(name));
                let unknown = RunnerError::host("cannot tell where the output goes");
                (folder.map_err(unknown)?, None)
            }
            RunForm::InTurn | RunForm::SideBySide => {
                let claimed = RunFolder::claim(&request.output.of_many())?;
                (claimed.path().to_owned(), Some(claimed))
            }
        };
        let (display, showing) = SharedDisplay::start(frontend.display()).map_err(no_thread())?;
        Ok(Self {
            request,
            form,
            folder,
            claimed,
            earlier,
            display,
            showing,
        })
    }

    /// Writes and shows what is true of a run of several tests until it has ended.
    ///
    /// # Errors
    /// Returns an error if it cannot be written.
    pub fn begin(
        &self,
        unfinished: &RunResults,
        jobs: usize,
        expected: Expected,
    ) -> Result<(), RunnerError> {
        if let Some(claimed) = &self.claimed {
            claimed.begin(&with_earlier(unfinished, &self.earlier))?;
        }
        if self.is_side_by_side() {
            let Expected { all_s, typical_s } = expected;
            self.display.emit(None, Event::RunStarted { jobs });
            let tests = unfinished.tests.len();
            let found = Event::TestsFound {
                tests,
                expected_s: all_s,
                typical_s,
            };
            self.display.emit(None, found);
        }
        Ok(())
    }

    pub fn is_side_by_side(&self) -> bool {
        self.form == RunForm::SideBySide
    }

    /// Whether the run has one test.
    pub fn is_of_only_test(&self) -> bool {
        matches!(self.form, RunForm::OnlyTest(_))
    }

    /// Returns the output folder of the run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the output folder of a test.
    pub fn folder_of(&self, label: &str) -> PathBuf {
        if self.is_of_only_test() {
            self.folder.clone()
        } else {
            self.folder.join(folder_name(label))
        }
    }

    /// Returns the seconds since the start of the run.
    pub fn time_s(&self) -> f64 {
        self.display.time_s()
    }

    /// Starts to report on one run of a test, whose output goes to `folder`.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be had, or the system has no thread to give.
    pub fn of_test(
        &self,
        label: &str,
        name: &str,
        folder: &Path,
    ) -> Result<TestReports, RunnerError> {
        let output = Output::create(folder, name)?;
        Ok(TestReports {
            folder: output.folder().to_owned(),
            root: output.root(),
            reports: Reports::of_one(&self.display, self.shown_label(label), Some(output))
                .map_err(no_thread())?,
        })
    }

    /// Shows an event of a test.
    pub fn show(&self, label: &str, event: Event) {
        self.display.emit(self.shown_label(label), event);
    }

    /// Shows an event of the run.
    pub fn show_of_run(&self, event: Event) {
        self.display.emit(None, event);
    }

    /// Shows the end of a test, if it is one of several side by side.
    pub fn show_end(&self, result: &TestResult) {
        if self.is_side_by_side() {
            let ended = Event::TestEnded {
                result: Box::new(result.clone()),
            };
            self.show(&result.label, ended);
        }
    }

    fn shown_label<'l>(&self, label: &'l str) -> Option<&'l str> {
        self.is_side_by_side().then_some(label)
    }

    /// Shows how the tests have ended, writes the reports, and remembers the ends.
    ///
    /// # Errors
    /// Returns the error of a run that has not `ended` by itself; else an error if the reports cannot be written, or not
    /// all be shown.
    pub async fn conclude(
        self,
        ended: Result<(), RunnerError>,
        results: RunResults,
        frontend: &dyn Frontend,
        interrupts: &mut impl InterruptSource,
    ) -> Result<RunResults, RunnerError> {
        let Self {
            request,
            form,
            folder,
            claimed,
            earlier,
            display,
            showing,
        } = self;
        let history = &request.project.history;
        let is_whole = request.settings.subtests.only.is_none();
        if is_whole && (claimed.is_some() || concerns_test(&ended, &results)) {
            remember(frontend, &results);
        }
        let written = match (claimed, &form) {
            (Some(claimed), _) => {
                let finished = Event::RunFinished {
                    results: Box::new(results.clone()),
                    output: folder.clone(),
                };
                display.emit(None, finished);
                claimed
                    .finish(&with_earlier(&results, &earlier), history)
                    .map(Some)
            }
            (None, RunForm::OnlyTest(name)) if is_folder_taken(name, &folder, &results) => {
                if ended.is_ok() {
                    for text in closing_lines(&results) {
                        display.emit(None, Event::note(Level::Info, text));
                    }
                }
                write_reports(&folder, &results, history).map(Some)
            }
            (None, _) => Ok(None),
        };
        let is_only = matches!(form, RunForm::OnlyTest(_));
        // The error of the only test is the last that its user sees.
        if let Ok(Some(written)) = &written
            && !(is_only && ended.is_err())
        {
            display.emit(
                None,
                Event::ReportWritten {
                    path: written.page.clone(),
                },
            );
        }
        drop(display);
        let shown = wait_until_shown(showing, interrupts).await;
        if matches!(shown, Ok(Shown::All)) {
            match &written {
                Ok(Some(written)) => frontend.annotate(&results, &written.failures),
                _ => frontend.annotate(&results, &RunFailures::of_messages(&results)),
            }
        }
        ended?;
        shown?;
        written?;
        Ok(results)
    }
}

/// Returns the results of a run with those of earlier tests that did not run again.
fn with_earlier(results: &RunResults, earlier: &[TestResult]) -> RunResults {
    let identity = |test: &TestResult| (test.source.clone(), test.attribute.clone());
    let again: HashSet<_> = results.tests.iter().map(identity).collect();
    let mut all = results.clone();
    let kept = earlier
        .iter()
        .filter(|test| !again.contains(&identity(test)));
    all.tests.extend(kept.cloned());
    all
}

/// Whether results say something of the only test: a folder that cannot be had does not, nor does an interrupt before
/// its first attempt.
fn concerns_test(ended: &Result<(), RunnerError>, results: &RunResults) -> bool {
    match ended {
        Ok(()) => has_attempts(results),
        Err(error) => !matches!(error, RunnerError::Output(_)),
    }
}

fn has_attempts(results: &RunResults) -> bool {
    results.tests.iter().any(|test| !test.attempts.is_empty())
}

/// Whether the output folder of the only test is that of this run. Where an earlier run could be taken for this one, the
/// folder is taken now.
fn is_folder_taken(name: &str, folder: &Path, results: &RunResults) -> bool {
    let obstacle = results.tests.first().and_then(|test| test.obstacle);
    match obstacle {
        // What the attempts or the build have said is there.
        _ if has_attempts(results) => true,
        Some(Obstacle::Build) => true,
        Some(Obstacle::Test) => Output::create(folder, name)
            .and_then(Output::finish)
            .is_ok(),
        Some(Obstacle::Host) | None => false,
    }
}

/// Returns lines on the only test beside the verdict of its last attempt.
fn closing_lines(results: &RunResults) -> Vec<String> {
    let Some(test) = results.tests.first() else {
        return Vec::new();
    };
    let count = test.attempts.len();
    let verdicts = test.attempts.iter().map(|attempt| attempt.verdict);
    let counts = Outcome::count_in_words(verdicts.map(Outcome::of_verdict)).join(", ");
    let (outcome, label) = (test.outcome.name(), &test.label);
    let seeds = test.failed_seeds();
    let attempts = format!("{outcome}: {label}, {count} attempts: {counts}{seeds}");
    let excuse = test.quarantine.as_ref().map(|quarantine| {
        let reason = &quarantine.reason;
        format!("in quarantine: {label} ({outcome}: {reason}): the run does not fail")
    });
    let attempts = (count > 1).then_some(attempts);
    let excuse = excuse.filter(|_| count > 0 && !test.outcome.is_good());
    attempts.into_iter().chain(excuse).collect()
}

/// Adds a run to the history. Without it, the run is what it is.
pub(in crate::runner) fn remember(frontend: &dyn Frontend, results: &RunResults) {
    if let Err(error) = history::remember(results) {
        frontend.show_warning(&format!("the history of tests cannot be written: {error}"));
    }
}
