//! The output folder: `events.jsonl`, `junit.xml`, and the place for consoles and saved files.
//!
//! Events are written as they come, and `junit.xml` says from the start that
//! the run did not finish, until it has: whatever ends the program, what is
//! there is true.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Report;
use super::json::json_line;
use super::junit::{Whole, document};
use super::output_error::OutputError;
use super::recorded::{FaultSpans, SubtestCases};
use super::tag::{Occupancy, Tag};
use crate::model::event::{Event, Failure, Record};
use crate::output_folder::{self, CONSOLE, EVENTS, JUNIT, MANIFEST, TAG, console_log, write_whole};

/// The folder of one run.
#[derive(Debug)]
pub struct Output {
    folder: PathBuf,
    test: String,
    events: File,
    /// Up to here the events are whole lines.
    events_bytes: u64,
    subtests: SubtestCases,
    faults: FaultSpans,
    /// The first file that could not be written, and why.
    lost: Option<(PathBuf, String)>,
    tag: Tag,
}

impl Output {
    /// Makes the folder, or takes that of an earlier run and removes what that
    /// run has written.
    ///
    /// # Errors
    /// Returns an error if it cannot be written, is in use, or holds other files.
    pub fn create(folder: &Path, test: &str) -> Result<Self, OutputError> {
        Self::begin(folder, test, Occupancy::Alone)
    }

    /// Makes the folder, or takes one that may hold anything, as nixpkgs'
    /// driver does: only files of earlier runs are replaced.
    ///
    /// # Errors
    /// Returns an error if it cannot be written, is in use, or holds other files of the same names.
    pub fn beside(folder: &Path, test: &str) -> Result<Self, OutputError> {
        Self::begin(folder, test, Occupancy::Shared)
    }

    fn begin(folder: &Path, test: &str, occupancy: Occupancy) -> Result<Self, OutputError> {
        let folder = made(folder)?;
        let tag = Tag::claim(&folder, test, occupancy)?;
        let unwritable = |source| OutputError::Unwritable {
            path: folder.clone(),
            source,
        };
        output_folder::claim(&folder).map_err(unwritable)?;
        let opened = output_folder::open(&folder.join(CONSOLE)).map_err(unwritable);
        drop(opened?);
        let opened = output_folder::open(&folder).map_err(unwritable)?;
        let output = Self {
            events: opened.create_file(EVENTS.as_ref()).map_err(unwritable)?,
            events_bytes: 0,
            folder: folder.clone(),
            test: test.to_owned(),
            subtests: SubtestCases::default(),
            faults: FaultSpans::default(),
            lost: None,
            tag,
        };
        output.write_junit(None).map_err(unwritable)?;
        Ok(output)
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The link by which Nix keeps what the run was made of.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.join(MANIFEST)
    }

    /// The run is over, and all that is in the folder belongs to it.
    ///
    /// # Errors
    /// Returns an error if something of it could not be written.
    pub fn finish(mut self) -> Result<(), OutputError> {
        let listed = self.tag.complete();
        self.check(TAG, listed);
        if output_folder::has_moved(&self.folder) {
            let moved = io::Error::other("the output folder was moved while the test ran");
            self.check("", Err(moved));
        }
        match self.lost {
            None => Ok(()),
            Some((path, reason)) => Err(OutputError::Incomplete { path, reason }),
        }
    }

    fn write_junit(&self, whole: Option<&Whole<'_>>) -> io::Result<()> {
        let text = document(&self.test, &self.subtests.all, whole);
        write_whole(&self.folder, JUNIT, text.as_bytes())
    }

    fn write_event(&mut self, record: &Record) -> io::Result<()> {
        let line = json_line(record)?;
        if let Err(error) = self.events.write_all(line.as_bytes()) {
            // No reader meets half a line.
            let _ = self.events.set_len(self.events_bytes);
            return Err(error);
        }
        self.events_bytes += line.len() as u64;
        Ok(())
    }

    /// Takes note of a file that could not be written.
    fn check(&mut self, name: &str, written: io::Result<()>) {
        if let Err(error) = written {
            let path = self.folder.join(name);
            self.lost.get_or_insert((path, error.to_string()));
        }
    }

    /// Lists the files that a failure has saved.
    fn list_files(&mut self, failure: &Failure) {
        for path in &failure.files {
            let listed = self.tag.list(path);
            self.check(TAG, listed);
        }
    }

    fn keep(&mut self, record: &Record) {
        self.faults.take(&record.event, record.time_s);
        match &record.event {
            Event::MachineStarted { machine, .. } => {
                let listed = self.tag.list(&console_log(&self.folder, machine));
                self.check(TAG, listed);
            }
            Event::ScreenTaken { path, .. } => {
                let listed = self.tag.list(&self.folder.join(path));
                self.check(TAG, listed);
            }
            Event::FileSaved { path } | Event::CaptureSaved { path, .. } => {
                let listed = self.tag.list(path);
                self.check(TAG, listed);
            }
            Event::OutputLost { path, reason } => {
                self.lost.get_or_insert((path.clone(), reason.clone()));
            }
            Event::CallFailed { failure } => self.list_files(failure),
            Event::SubtestFinished {
                name,
                duration_s,
                failure,
            } => {
                let copied = failure.as_deref().cloned();
                self.subtests
                    .add(record.time_s, name.clone(), *duration_s, copied);
                if let Some(failure) = failure {
                    self.list_files(failure);
                }
            }
            Event::TestFinished {
                verdict,
                duration_s,
                failures,
                ..
            } => {
                for failure in failures {
                    self.list_files(failure);
                }
                let written = self.write_junit(Some(&Whole {
                    verdict: *verdict,
                    duration_s: *duration_s,
                    failure: failures.last(),
                    faults: self.faults.text(),
                }));
                self.check(JUNIT, written);
            }
            Event::BuildStarted { .. }
            | Event::BuildLog { .. }
            | Event::BuildFinished { .. }
            | Event::BuildProgress { .. }
            | Event::Begun { .. }
            | Event::TestStarted { .. }
            | Event::MachineReady { .. }
            | Event::MachineStopped { .. }
            | Event::Console { .. }
            | Event::StepStarted { .. }
            | Event::StepFinished { .. }
            | Event::Output { .. }
            | Event::Note { .. }
            | Event::SubtestStarted { .. }
            | Event::SubtestSkipped { .. }
            | Event::ConsolesShown { .. }
            | Event::Prompting
            | Event::TerminalAttached { .. }
            | Event::Called { .. }
            | Event::CallEnded { .. }
            | Event::ScriptSource { .. }
            | Event::CheckpointTaken { .. }
            | Event::Rewound { .. }
            | Event::FaultStarted { .. }
            | Event::FaultFinished { .. }
            | Event::Seeded { .. }
            | Event::Verified { .. }
            | Event::Watching { .. }
            | Event::Changed
            | Event::RunStarted { .. }
            | Event::TestsFound { .. }
            | Event::Retrying { .. }
            | Event::Slow { .. }
            | Event::TestEnded { .. }
            | Event::ReportWritten { .. }
            | Event::RunFinished { .. } => {}
        }
    }
}

impl Report for Output {
    fn take(&mut self, record: &Record) {
        // A gap in the events would look like a run in which less happened.
        if self.lost.is_none() {
            let written = self.write_event(record);
            self.check(EVENTS, written);
        }
        self.keep(record);
    }
}

/// The folder's own path. The folder is made if it is missing.
pub(super) fn made(folder: &Path) -> Result<PathBuf, OutputError> {
    let not_text = || io::Error::new(io::ErrorKind::InvalidInput, "its path is not UTF-8");
    let is_text = |path: PathBuf| match path.to_str() {
        Some(_) => Ok(path),
        None => Err(not_text()),
    };
    fs::create_dir_all(folder)
        .and_then(|()| folder.canonicalize())
        .and_then(is_text)
        .map_err(|source| OutputError::Unwritable {
            path: folder.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_earlier_run_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("result");
        let output = Output::create(&folder, "t").unwrap();
        fs::write(folder.join("screen.png"), "x").unwrap();
        output.finish().unwrap();
        drop(Output::create(&folder, "t").unwrap());
        assert!(!folder.join("screen.png").exists());
        let report = fs::read_to_string(folder.join(JUNIT)).unwrap();
        assert!(report.contains("did not finish"), "{report}");
    }

    #[test]
    fn reports_have_the_same_permissions() {
        let place = tempfile::tempdir().unwrap();
        drop(Output::create(place.path(), "t").unwrap());
        let mode = |name| {
            let metadata = fs::metadata(place.path().join(name)).unwrap();
            metadata.permissions().mode()
        };
        assert_eq!(mode(EVENTS), mode(JUNIT));
    }

    #[test]
    fn a_folder_with_other_files_keeps_them() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("thesis.txt"), "x").unwrap();
        let error = Output::create(place.path(), "t").unwrap_err();
        assert!(matches!(error, OutputError::Foreign { .. }), "{error}");
        Output::beside(place.path(), "t").unwrap().finish().unwrap();
        drop(Output::beside(place.path(), "t").unwrap());
        assert!(place.path().join("thesis.txt").exists());
        let error = Output::create(place.path(), "t").unwrap_err();
        assert!(matches!(error, OutputError::Foreign { .. }), "{error}");
    }
}
