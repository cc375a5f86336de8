//! The output folder of several tests: `run.json`, `junit.xml`, and a folder for each test.

use std::io;
use std::path::{Path, PathBuf};

use super::junit;
use super::output::made;
use super::output_error::OutputError;
use super::page::{self, PageContext, PictureBudget};
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
        write_data(&self.folder, unfinished)
    }

    /// Writes the reports of a run that is over; returns the path of the one for people.
    ///
    /// # Errors
    /// Returns an error if one cannot be written.
    pub fn finish(self, results: &RunResults, history: &History) -> Result<PathBuf, OutputError> {
        write_reports(&self.folder, results, history)
    }
}

/// Writes the reports of a run into its folder, from its results and the folders of its tests; returns the path of the
/// one for people.
///
/// # Errors
/// Returns an error if one cannot be written.
pub fn write_reports(
    folder: &Path,
    results: &RunResults,
    history: &History,
) -> Result<PathBuf, OutputError> {
    write_data(folder, results)?;
    let context = PageContext {
        folder,
        history,
        started_unix_s: results.started_unix_s,
        pictures: &PictureBudget::new(),
        is_alone: results.tests.len() == 1,
    };
    write(folder, REPORT, page::document(context, results).as_bytes())?;
    Ok(folder.join(REPORT))
}

/// Writes those for programs.
fn write_data(folder: &Path, results: &RunResults) -> Result<(), OutputError> {
    let text = serde_json::to_string_pretty(results)
        .map_err(|error| incomplete(folder, RESULTS, &error.into()))?;
    write(folder, RESULTS, (text + "\n").as_bytes())?;
    write(folder, JUNIT, junit::of_run(folder, results).as_bytes())
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
