//! The event stream as it is: a JSON object a line, on standard output.

use std::io;

use super::Report;
use super::output_stream::OutputStream;
use crate::model::event::Record;

/// Writes to standard output.
#[derive(Debug)]
pub struct JsonDisplay {
    stdout: OutputStream,
}

impl JsonDisplay {
    /// Takes standard output for itself: the script's processes write to
    /// standard error from now on.
    #[must_use]
    pub fn exclusive() -> Self {
        Self {
            stdout: OutputStream::exclusive(),
        }
    }
}

impl Report for JsonDisplay {
    fn take(&mut self, record: &Record) {
        if let Ok(line) = json_line(record) {
            self.stdout.print(line.as_bytes());
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.stdout.finish()
    }
}

/// The record as a line of JSON. What terminals and workflows obey is escaped: control
/// characters beyond ASCII, too, and GitHub's mark of a command.
pub(super) fn json_line(record: &Record) -> serde_json::Result<String> {
    let mut line = serde_json::to_string(record)?;
    let is_obeyed = |c: char| matches!(c, '\u{7f}'..='\u{9f}');
    if line.contains(is_obeyed) {
        line = line
            .chars()
            .map(|c| {
                if is_obeyed(c) {
                    format!("\\u{:04x}", c as u32)
                } else {
                    c.to_string()
                }
            })
            .collect();
    }
    // GitHub's workflows obey it anywhere in a line. It can be in a string alone.
    let mut line = line.replace("##[", "\\u0023#[");
    line.push('\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::Event;

    #[test]
    fn no_control_character_is_in_a_line() {
        let text = "a\x1b\u{9b}\x7fb ##[error]".to_owned();
        let record = Record {
            label: None,
            time_s: 0.5,
            event: Event::Output { text },
        };
        let line = json_line(&record).unwrap();
        assert_eq!(
            line,
            "{\"time_s\":0.5,\"event\":\"output\",\"text\":\"a\\u001b\\u009b\\u007fb \\u0023#[error]\"}\n"
        );
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
    }
}
