//! Plain lines, for files, pipes and continuous integration: of one test, or of several.

use std::io;

use super::github::for_log;
use super::json::json_line;
use super::lines::short_name;
use super::output_stream::OutputStream;
use super::texts::Texts;
use super::{Detail, Report};
use crate::model::event::{Event, Record};

/// Start of the line in the log of a build that holds the event of the test's end.
pub const VERDICT_MARK: &str = "@snowglobe ";

/// Who reads the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogReader {
    Person,
    /// Nix keeps them as the log of a build, and Snowglobe finds the verdict
    /// there: see [`VERDICT_MARK`].
    BuildLog,
}

/// Writes to standard output, or to standard error beside a command's result.
#[derive(Debug)]
pub struct PlainDisplay {
    texts: Texts,
    reader: LogReader,
    done: u64,
    expected: u64,
    stream: OutputStream,
}

impl PlainDisplay {
    #[must_use]
    pub fn new(detail: Detail, reader: LogReader) -> Self {
        Self {
            texts: Texts::new(detail),
            reader,
            done: 0,
            expected: 0,
            stream: OutputStream::shared(),
        }
    }

    #[must_use]
    pub fn on_stderr(detail: Detail) -> Self {
        Self {
            stream: OutputStream::errors(),
            ..Self::new(detail, LogReader::Person)
        }
    }

    fn print(&mut self, lines: &[String]) {
        let mut text = String::new();
        for line in lines {
            text.push_str(&for_log(line));
            text.push('\n');
        }
        if self.reader == LogReader::BuildLog {
            text = without_marks(&text);
        }
        self.stream.print(text.as_bytes());
    }

    fn print_verdict(&mut self, record: &Record) {
        let is_end = matches!(record.event, Event::TestFinished { .. });
        if is_end
            && self.reader == LogReader::BuildLog
            && let Ok(line) = json_line(record)
        {
            self.stream
                .print(format!("{VERDICT_MARK}{line}").as_bytes());
        }
    }
}

/// Whether it is the script or the manifest, which each edit makes anew: texts
/// that no user waits for.
fn is_bookkeeping(derivation: &str) -> bool {
    let name = short_name(derivation);
    ["test-script-", "test-manifest-"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

impl Report for PlainDisplay {
    fn take(&mut self, record: &Record) {
        let lines = match (&record.label, &record.event) {
            (None, Event::BuildProgress { done, expected }) => {
                (self.done, self.expected) = (*done, *expected);
                return;
            }
            (None, Event::BuildStarted { derivation }) if is_bookkeeping(derivation) => return,
            (None, Event::BuildStarted { derivation }) => vec![format!(
                "building {} ({} of {} done)",
                short_name(derivation),
                self.done,
                self.expected
            )],
            _ => self.texts.of(record),
        };
        self.print_verdict(record);
        self.print(&lines);
    }

    fn finish(&mut self) -> io::Result<()> {
        self.stream.finish()
    }
}

/// The lines, none of which looks like the one with the verdict.
fn without_marks(text: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| {
            if line.starts_with(VERDICT_MARK) {
                format!(" {line}")
            } else {
                line.to_owned()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_printed_looks_like_the_verdict() {
        assert_eq!(
            without_marks("a\n@snowglobe {}\n@snowglobes\n"),
            "a\n @snowglobe {}\n@snowglobes\n"
        );
    }
}
