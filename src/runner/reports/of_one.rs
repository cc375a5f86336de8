//! The reports of a run of one test alone.

use std::path::{Path, PathBuf, absolute};

use super::of_many::remember;
use super::{Shown, announce, announce_report};
use crate::model::event::{Event, Level};
use crate::model::outcome::{Obstacle, Outcome, RunResults};
use crate::report::{Output, write_reports};
use crate::runner::error::RunnerError;
use crate::runner::frontend::Frontend;
use crate::runner::interrupts::Interrupts;
use crate::runner::request::RunRequest;

/// Where they go.
#[derive(Debug)]
pub(in crate::runner) struct OnlyReport<'a> {
    request: &'a RunRequest,
    folder: PathBuf,
    /// The test's own name.
    name: &'a str,
}

impl<'a> OnlyReport<'a> {
    /// Returns the reports of a test with this name, whose output is in a folder.
    ///
    /// # Errors
    /// Returns an error if there is no folder that a relative path begins in.
    pub fn new(request: &'a RunRequest, folder: &Path, name: &'a str) -> Result<Self, RunnerError> {
        let folder =
            absolute(folder).map_err(RunnerError::host("cannot tell where the output goes"))?;
        Ok(Self {
            request,
            folder,
            name,
        })
    }

    /// Remembers how the test has ended, writes the reports and shows their place.
    ///
    /// # Errors
    /// Why the run has not `ended` by itself; else when the reports cannot be written, or not be shown.
    pub async fn conclude(
        &self,
        ended: Result<Shown, RunnerError>,
        results: RunResults,
        frontend: &dyn Frontend,
        interrupts: &mut Interrupts,
    ) -> Result<RunResults, RunnerError> {
        // A folder that cannot be had says nothing of the test.
        if !matches!(&ended, Err(RunnerError::Output(_))) {
            remember(frontend, &results);
        }
        let shown = match ended {
            Ok(shown) => shown,
            Err(error) => {
                self.replace(&results);
                frontend.annotate(&self.folder, &results);
                return Err(error);
            }
        };
        if shown == Shown::All {
            for text in closing_lines(&results) {
                announce(frontend, Event::note(Level::Info, text))?;
            }
        }
        let path = write_reports(&self.folder, &results, &self.request.project.history)?;
        announce_report(frontend, path, shown, interrupts).await?;
        if shown == Shown::All {
            frontend.annotate(&self.folder, &results);
        }
        Ok(results)
    }

    /// Puts the reports on a test that has come to no end in the place of those of an earlier run, as far as that is
    /// possible: the reason is shown in any case.
    fn replace(&self, results: &RunResults) {
        let obstacle = results.tests.first().and_then(|test| test.obstacle);
        let has_attempts = results.tests.iter().any(|test| !test.attempts.is_empty());
        let is_ready = match obstacle {
            // What the attempts or the build have said is there.
            _ if has_attempts => true,
            Some(Obstacle::Build) => true,
            Some(Obstacle::Test) => Output::create(&self.folder, self.name)
                .and_then(Output::finish)
                .is_ok(),
            Some(Obstacle::Host) | None => false,
        };
        let history = &self.request.project.history;
        if is_ready && let Err(error) = write_reports(&self.folder, results, history) {
            tracing::warn!("{error}");
        }
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
    let attempts = format!("{outcome}: {label}, {count} attempts: {counts}");
    let excuse = test.quarantine.as_ref().map(|quarantine| {
        let reason = &quarantine.reason;
        format!("in quarantine: {label} ({outcome}: {reason}): the run does not fail")
    });
    let attempts = (count > 1).then_some(attempts);
    let excuse = excuse.filter(|_| !test.outcome.is_good());
    attempts.into_iter().chain(excuse).collect()
}
