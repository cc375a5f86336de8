//! Standard output, whose reader may leave early.

use std::io::{self, Write};

/// Writes lines; a closed output is no error, any other failure is one.
#[derive(Debug, Default)]
pub(super) struct Stdout {
    failed: Option<io::Error>,
}

impl Stdout {
    /// Writes it and has it shown at once.
    pub fn print(&mut self, text: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        let mut output = io::stdout().lock();
        if let Err(error) = output.write_all(text).and_then(|()| output.flush()) {
            self.failed = Some(error);
        }
    }

    /// Whether everything was written, or the reader has gone.
    ///
    /// # Errors
    /// The first write that failed.
    pub fn finish(&mut self) -> io::Result<()> {
        match self.failed.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }
}
