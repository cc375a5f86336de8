//! Standard output or standard error, whose reader may leave early.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use crate::raw_terminal::for_terminal;

/// Writes text; a closed output is no error, any other failure is one.
///
/// The descriptor is a duplicate: a script that closes descriptor 1 loses its own output, not that of the run.
#[derive(Debug)]
pub struct OutputStream {
    state: io::Result<File>,
    is_terminal: bool,
}

impl OutputStream {
    /// Standard output, to which the script's processes write, too.
    #[must_use]
    pub fn shared() -> Self {
        Self {
            state: duplicate(io::stdout()),
            is_terminal: io::stdout().is_terminal(),
        }
    }

    /// Standard error, for progress beside a result on standard output.
    #[must_use]
    pub fn errors() -> Self {
        Self {
            state: duplicate(io::stderr()),
            is_terminal: io::stderr().is_terminal(),
        }
    }

    /// Standard output alone: from now on, what the script's processes write
    /// to theirs goes to standard error.
    #[must_use]
    pub fn exclusive() -> Self {
        // A command may show several runs, one after another.
        static OUTPUT: Mutex<Option<File>> = Mutex::new(None);
        let mut output = OUTPUT.lock().unwrap_or_else(PoisonError::into_inner);
        let state = match &*output {
            Some(output) => output.try_clone(),
            None => duplicate(io::stdout()).and_then(|duplicate| {
                rustix::stdio::dup2_stdout(io::stderr())?;
                output.insert(duplicate).try_clone()
            }),
        };
        let is_terminal = state
            .as_ref()
            .is_ok_and(|output: &File| output.is_terminal());
        Self { state, is_terminal }
    }

    /// Writes it and has it shown at once.
    pub fn print(&mut self, text: &[u8]) {
        let text = if self.is_terminal {
            for_terminal(text)
        } else {
            Cow::Borrowed(text)
        };
        if let Ok(output) = &mut self.state
            && let Err(error) = output.write_all(&text)
        {
            self.state = Err(error);
        }
    }

    /// Whether everything was written, or the reader has gone.
    ///
    /// # Errors
    /// The first write that failed.
    pub fn finish(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.state, Err(io::ErrorKind::BrokenPipe.into())) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }
}

fn duplicate(stream: impl AsFd) -> io::Result<File> {
    Ok(rustix::io::fcntl_dupfd_cloexec(stream, 3)?.into())
}
