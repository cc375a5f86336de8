//! A test as its attempts are recorded: the events of each output folder, read once for all reports.

mod calls;
mod console_text;
mod fault_spans;
mod subtest_cases;
mod timeline;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::bounded_file::for_each_line;
use crate::model::event::Record;
use crate::model::outcome::{Attempt, TestResult};
use crate::output_folder::EVENTS;

pub(super) use calls::CallSpan;
pub(super) use console_text::{ConsoleLine, ConsoleText, level};
pub(in crate::report) use fault_spans::FaultSpans;
pub use subtest_cases::{SubtestCase, SubtestCases};
pub(super) use timeline::{BootOutcome, BootSpan, Screen, Span, Timeline};

/// The attempts at a test, by their folders in that of the run.
#[derive(Debug, Default)]
pub struct RecordedTest(BTreeMap<PathBuf, RecordedAttempt>);

/// One attempt by its events.
#[derive(Debug, Default)]
pub(super) struct RecordedAttempt {
    pub timeline: Timeline,
    /// Why not all of them are known.
    pub fault: Option<EventsFault>,
}

impl RecordedTest {
    /// Reads the events of all attempts at a test of a run, whose folder this is. Attempts in the same folder have left
    /// the events of the last one.
    #[must_use]
    pub fn read(run: &Path, test: &TestResult) -> Self {
        let folders = test.attempts.iter().map(|attempt| &attempt.folder);
        let attempts = folders.map(|folder| {
            let attempt = RecordedAttempt::read(&run.join(folder));
            (folder.clone(), attempt)
        });
        Self(attempts.collect())
    }

    /// Returns an attempt, if it was read.
    pub(super) fn attempt(&self, attempt: &Attempt) -> Option<&RecordedAttempt> {
        self.0.get(&attempt.folder)
    }
}

impl RecordedAttempt {
    fn read(folder: &Path) -> Self {
        let mut timeline = Timeline::default();
        let fault = for_each_event(folder, |record| timeline.take(record)).err();
        Self { timeline, fault }
    }
}

/// Why not all events of an output folder are known.
#[derive(Debug)]
pub enum EventsFault {
    Unreadable(io::Error),
    /// The number of the line, from 1, at which something else than events begins: the run was killed while it wrote it.
    BrokenAt(usize),
}

/// Reads the events of an output folder. Those of another version that are not known here are left out.
///
/// # Errors
/// Returns an error if there are none, or something else follows them.
pub fn for_each_event(folder: &Path, mut take: impl FnMut(Record)) -> Result<(), EventsFault> {
    for_each_line(&folder.join(EVENTS), |number, line| {
        match serde_json::from_slice(line) {
            Ok(record) => take(record),
            Err(_) if is_event(line) => {}
            Err(_) => return Err(EventsFault::BrokenAt(number)),
        }
        Ok(())
    })
}

impl From<io::Error> for EventsFault {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

fn is_event(line: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(line).is_ok_and(|it| it["event"].is_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::Event;

    proptest::proptest! {
        /// Reading ends, and returns the first broken line.
        #[test]
        fn any_file_of_events_is_read(bytes: Vec<u8>, seconds: u32) {
            let folder = tempfile::tempdir().unwrap();
            let event = Event::CallFailed {
                failure: Box::default(),
            };
            let record = Record {
                time_s: f64::from(seconds),
                label: None,
                event,
            };
            let mut text = serde_json::to_vec(&record).unwrap();
            text.push(b'\n');
            text.extend(&bytes);
            std::fs::write(folder.path().join(EVENTS), &text).unwrap();
            let mut seen = Vec::new();
            let ended = for_each_event(folder.path(), |record| seen.push(record));
            assert_eq!(seen, [record]);
            assert_eq!(ended.is_ok(), bytes.is_empty());
        }
    }
}
