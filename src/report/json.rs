//! The event stream as it is: a JSON object a line, on standard output.

use std::io::{self, Write};

use super::Report;
use crate::event::Record;

/// Writes to standard output.
#[derive(Debug, Default)]
pub struct JsonDisplay;

impl Report for JsonDisplay {
    fn take(&mut self, record: &Record) {
        let Ok(mut line) = serde_json::to_vec(record) else {
            return;
        };
        line.push(b'\n');
        // Whoever reads may leave early; the run goes on.
        let _ = io::stdout().write_all(&line);
    }
}
