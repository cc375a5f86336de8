//! The output folder of several tests: `run.json`, `junit.xml`, and a folder for each test.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use quick_junit::TestSuite;

use super::github::{self, RunFailures};
use super::junit;
use super::output::made;
use super::output_error::OutputError;
use super::page::{self, PageContext, PageWriter, PictureBudget};
use super::recorded::RecordedTest;
use super::tag::{Occupancy, Tag};
use crate::history::History;
use crate::model::outcome::RunResults;
use crate::output_folder::{self, JUNIT, REPORT, RESULTS, write_whole};

/// The folder of one run. Until the run ends, no other run can have it.
#[derive(Debug)]
pub struct RunFolder {
    folder: PathBuf,
    _tag: Tag,
}

impl RunFolder {
    /// Makes the folder, or takes that of an earlier run and removes what that run has written beside its tests.
    ///
    /// # Errors
    /// Returns an error if it cannot be written, is in use, or holds other files of the same names.
    pub fn claim(folder: &Path) -> Result<Self, OutputError> {
        let folder = made(folder)?;
        let tag = Tag::claim(&folder, "several tests", Occupancy::Shared)?;
        output_folder::claim(&folder).map_err(|source| OutputError::Unwritable {
            path: folder.clone(),
            source,
        })?;
        Ok(Self { _tag: tag, folder })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Writes what is true of a run until it is over: whatever ends the program, its reports say so.
    ///
    /// # Errors
    /// Returns an error if it cannot be written.
    pub fn begin(&self, unfinished: &RunResults) -> Result<(), OutputError> {
        let tests = unfinished.tests.iter();
        let suites = tests.map(|test| {
            let recorded = RecordedTest::read(&self.folder, test);
            junit::suite_of(test, &recorded)
        });
        write_data(&self.folder, unfinished, suites.collect())
    }

    /// Writes the reports of a run that is over.
    ///
    /// # Errors
    /// Returns an error if one cannot be written.
    pub fn finish(
        self,
        results: &RunResults,
        history: &History,
    ) -> Result<WrittenReports, OutputError> {
        write_reports(&self.folder, results, history)
    }
}

/// The reports of a run that are written.
#[derive(Debug)]
pub struct WrittenReports {
    /// The path of the report for people.
    pub page: PathBuf,
    /// The failures in it, for annotations.
    pub failures: RunFailures,
}

/// Writes the reports of a run into its folder, from its results and one reading of the folders of its tests.
///
/// # Errors
/// Returns an error if one cannot be written.
pub fn write_reports(
    folder: &Path,
    results: &RunResults,
    history: &History,
) -> Result<WrittenReports, OutputError> {
    let pictures = PictureBudget::new();
    let mut page = PageWriter::new(PageContext {
        folder,
        history,
        started_unix_s: results.started_unix_s,
        pictures: &pictures,
        is_alone: results.tests.len() == 1,
    });
    let mut parts = BTreeMap::new();
    // One test after another: a run may have thousands.
    for index in page::order(results) {
        let test = &results.tests[index];
        let recorded = RecordedTest::read(folder, test);
        page.add(test, &recorded);
        let suite = junit::suite_of(test, &recorded);
        parts.insert(index, (suite, github::failures_of(test, &recorded)));
    }
    let (suites, failures) = parts.into_values().unzip();
    write_data(folder, results, suites)?;
    write(folder, REPORT, page.finish(results).as_bytes())?;
    Ok(WrittenReports {
        page: folder.join(REPORT),
        failures: RunFailures::new(failures),
    })
}

/// Writes those for programs.
fn write_data(
    folder: &Path,
    results: &RunResults,
    suites: Vec<TestSuite>,
) -> Result<(), OutputError> {
    let text = serde_json::to_string_pretty(results)
        .map_err(|error| incomplete(folder, RESULTS, &error.into()))?;
    write(folder, RESULTS, (text + "\n").as_bytes())?;
    write(folder, JUNIT, junit::of_run(results, suites).as_bytes())
}

fn write(folder: &Path, name: &str, content: &[u8]) -> Result<(), OutputError> {
    write_whole(folder, name, content).map_err(|error| incomplete(folder, name, &error))
}

fn incomplete(folder: &Path, name: &str, error: &io::Error) -> OutputError {
    OutputError::Incomplete {
        path: folder.join(name),
        reason: error.to_string(),
    }
}
