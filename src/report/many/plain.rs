//! Several tests as plain lines, for files, pipes and continuous integration.

use std::io;

use super::texts::Texts;
use crate::model::event::Record;
use crate::report::github::for_log;
use crate::report::output_stream::OutputStream;
use crate::report::{Detail, Report};

/// Writes to standard output.
#[derive(Debug)]
pub struct ManyPlain {
    texts: Texts,
    stdout: OutputStream,
}

impl ManyPlain {
    #[must_use]
    pub fn new(detail: Detail) -> Self {
        Self {
            texts: Texts::new(detail),
            stdout: OutputStream::shared(),
        }
    }
}

impl Report for ManyPlain {
    fn take(&mut self, record: &Record) {
        for line in self.texts.of(record) {
            let line = for_log(&line) + "\n";
            self.stdout.print(line.as_bytes());
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.stdout.finish()
    }
}
