//! The output folder: `events.jsonl`, `junit.xml`, and the place for consoles and saved files.
//!
//! Events are written as they come, and `junit.xml` says from the start that
//! the run did not finish, until it has: whatever ends the program, what lies
//! there is true.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Report;
use super::junit::{Subtest, Whole, document};
use crate::event::{Event, Record};

const EVENTS: &str = "events.jsonl";
const JUNIT: &str = "junit.xml";
/// The folder of the machines' consoles.
const CONSOLE: &str = "console";

/// Why there is no output folder.
#[derive(Debug, Error)]
pub enum OutputError {
    #[error("the output folder {path} cannot be written: {source}; choose another with -o")]
    Unwritable { path: PathBuf, source: io::Error },
    #[error(
        "the output folder {0} holds files that no run of snowglobe left: choose another with -o"
    )]
    Foreign(PathBuf),
}

/// The folder of one run.
#[derive(Debug)]
pub struct Output {
    folder: PathBuf,
    test: String,
    events: File,
    subtests: Vec<Subtest>,
    /// The first write that failed; there is no use in telling of the rest.
    broken: bool,
}

impl Output {
    /// Makes the folder, or empties that of an earlier run.
    ///
    /// # Errors
    /// When it cannot be written, or holds what is not ours.
    pub fn create(folder: &Path, test: &str) -> Result<Self, OutputError> {
        let folder = &made(folder)?;
        let unwritable = |source| unwritable(folder, source);
        let entries: Vec<PathBuf> = fs::read_dir(folder)
            .and_then(|entries| {
                entries
                    .map(|entry| entry.map(|entry| entry.path()))
                    .collect()
            })
            .map_err(unwritable)?;
        if !entries.is_empty() && !folder.join(EVENTS).is_file() {
            return Err(OutputError::Foreign(folder.clone()));
        }
        // The mark of ours goes last: one that is interrupted here is still ours.
        for entry in entries.iter().filter(|entry| !entry.ends_with(EVENTS)) {
            remove(entry).map_err(unwritable)?;
        }
        Self::begin(folder, test).map_err(unwritable)
    }

    /// Makes the folder, or takes one that may hold anything, as nixpkgs'
    /// driver does: only our own files in it are replaced.
    ///
    /// # Errors
    /// When it cannot be written, or holds other files of the same names.
    pub fn beside(folder: &Path, test: &str) -> Result<Self, OutputError> {
        let folder = &made(folder)?;
        let unwritable = |source| unwritable(folder, source);
        let is_ours = folder.join(EVENTS).is_file();
        for name in [CONSOLE, JUNIT] {
            let path = folder.join(name);
            if !path.exists() {
                continue;
            }
            if !is_ours {
                return Err(OutputError::Foreign(path));
            }
            remove(&path).map_err(unwritable)?;
        }
        Self::begin(folder, test).map_err(unwritable)
    }

    fn begin(folder: &Path, test: &str) -> io::Result<Self> {
        fs::create_dir(folder.join(CONSOLE))?;
        let events = File::create(folder.join(EVENTS))?;
        let output = Self {
            folder: folder.to_owned(),
            test: test.to_owned(),
            events,
            subtests: Vec::new(),
            broken: false,
        };
        output.write_junit(None)?;
        Ok(output)
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The link by which Nix keeps what the run was made of.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.join("manifest.json")
    }

    fn write_junit(&self, whole: Option<&Whole<'_>>) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(document(&self.test, &self.subtests, whole).as_bytes())?;
        file.persist(self.folder.join(JUNIT))?;
        Ok(())
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        self.events.write_all(&line)?;
        match &record.event {
            Event::SubtestFinished {
                name,
                duration_s,
                failure,
            } => self.subtests.push(Subtest {
                name: name.clone(),
                duration_s: *duration_s,
                failure: failure.as_deref().cloned(),
            }),
            Event::TestFinished {
                verdict,
                duration_s,
                failures,
                ..
            } => self.write_junit(Some(&Whole {
                verdict: *verdict,
                duration_s: *duration_s,
                failure: failures.last(),
            }))?,
            _ => {}
        }
        Ok(())
    }
}

impl Report for Output {
    fn take(&mut self, record: &Record) {
        if self.broken {
            return;
        }
        if let Err(error) = self.record(record) {
            self.broken = true;
            eprintln!(
                "error: {}: {error}: the output of this run is incomplete",
                self.folder.display()
            );
        }
    }
}

/// The folder's own path, made where it was not there.
fn made(folder: &Path) -> Result<PathBuf, OutputError> {
    fs::create_dir_all(folder)
        .and_then(|()| folder.canonicalize())
        .map_err(|source| unwritable(folder, source))
}

fn unwritable(folder: &Path, source: io::Error) -> OutputError {
    OutputError::Unwritable {
        path: folder.to_owned(),
        source,
    }
}

fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_run_is_replaced_and_foreign_files_are_not() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("result");
        drop(Output::create(&folder, "t").unwrap());
        fs::write(folder.join("screen.png"), "x").unwrap();
        drop(Output::create(&folder, "t").unwrap());
        assert!(!folder.join("screen.png").exists());
        assert!(
            fs::read_to_string(folder.join(JUNIT))
                .unwrap()
                .contains("did not finish")
        );

        fs::write(place.path().join("thesis.txt"), "x").unwrap();
        let error = Output::create(place.path(), "t").unwrap_err();
        assert!(matches!(error, OutputError::Foreign(_)), "{error}");
    }
}
