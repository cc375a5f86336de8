//! The result of one test by the events in an output folder.

use std::io;
use std::path::Path;

use crate::bounded_file::for_each_line;
use crate::model::event::{Event, Failure, Record, Verdict};
use crate::output_folder::EVENTS;

/// A finished subtest.
#[derive(Debug, Clone, PartialEq)]
pub struct SubtestCase {
    pub name: String,
    /// Without the subtests in it, so that all of them add up.
    pub own_s: f64,
    pub failure: Option<Failure>,
}

/// The subtests that have finished.
#[derive(Debug, Default)]
pub struct SubtestCases {
    pub all: Vec<SubtestCase>,
    /// Begin and seconds of the subtests that are in no other, so far.
    outermost: Vec<(f64, f64)>,
}

impl SubtestCases {
    /// One has finished, at a time of the run.
    pub fn add(&mut self, time_s: f64, name: String, duration_s: f64, failure: Option<Failure>) {
        let begin_s = time_s - duration_s;
        let inner = self
            .outermost
            .extract_if(.., |(begin, _)| *begin >= begin_s);
        let inner_s: f64 = inner.map(|(_, duration)| duration).sum();
        self.outermost.push((begin_s, duration_s));
        self.all.push(SubtestCase {
            name,
            own_s: (duration_s - inner_s).max(0.0),
            failure,
        });
    }
}

/// How a test ended, by its events.
#[derive(Debug, Default)]
pub struct RecordedTest {
    pub subtests: SubtestCases,
    /// None if the run did not finish.
    pub end: Option<RecordedEnd>,
}

/// The end.
#[derive(Debug)]
pub struct RecordedEnd {
    pub verdict: Verdict,
    pub duration_s: f64,
    pub failures: Vec<Failure>,
}

impl RecordedTest {
    /// Reads the events of an output folder; without any the run did not finish.
    #[must_use]
    pub fn read(folder: &Path) -> Self {
        let mut test = Self::default();
        let _ = for_each_event(folder, |record| test.take(record));
        test
    }

    fn take(&mut self, record: Record) {
        match record.event {
            Event::SubtestFinished {
                name,
                duration_s,
                failure,
            } => {
                let failure = failure.map(|failure| *failure);
                self.subtests.add(record.time_s, name, duration_s, failure);
            }
            Event::TestFinished {
                verdict,
                duration_s,
                failures,
                ..
            } => {
                self.end = Some(RecordedEnd {
                    verdict,
                    duration_s,
                    failures,
                });
            }
            Event::BuildStarted { .. }
            | Event::BuildLog { .. }
            | Event::BuildFinished { .. }
            | Event::BuildProgress { .. }
            | Event::Begun { .. }
            | Event::TestStarted { .. }
            | Event::MachineStarted { .. }
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
            | Event::CallFailed { .. }
            | Event::TerminalAttached { .. }
            | Event::Called { .. }
            | Event::CallEnded { .. }
            | Event::ScriptSource { .. }
            | Event::ScreenTaken { .. }
            | Event::CheckpointTaken { .. }
            | Event::FileSaved { .. }
            | Event::OutputLost { .. }
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

    #[test]
    fn times_of_subtests_add_up() {
        let mut cases = SubtestCases::default();
        cases.add(3.0, "inner".to_owned(), 1.0, None);
        cases.add(5.0, "outer".to_owned(), 4.0, None);
        cases.add(7.0, "next".to_owned(), 2.0, None);
        let own: Vec<(&str, f64)> = cases
            .all
            .iter()
            .map(|it| (it.name.as_str(), it.own_s))
            .collect();
        assert_eq!(own, [("inner", 1.0), ("outer", 3.0), ("next", 2.0)]);
    }

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
