//! The user's terminal, passing on every key as it is pressed.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::termios::{self, OptionalActions, Termios};
use tokio::io::unix::AsyncFd;

use crate::async_file::{read, register, write};

/// The key that leaves, as in telnet: Ctrl-].
pub const LEAVE: u8 = 0x1d;

/// Rows and columns if nothing is known.
pub const USUAL_SIZE: (u16, u16) = (24, 80);

/// How many terminals are raw now.
static RAW: AtomicUsize = AtomicUsize::new(0);

/// Returns a text as the user's terminal takes it: while it is raw, a line break does not return to the first column.
#[must_use]
pub fn for_terminal(text: &[u8]) -> Cow<'_, [u8]> {
    if RAW.load(Ordering::Relaxed) == 0 {
        return Cow::Borrowed(text);
    }
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    Cow::Owned(lines.flat_map(with_return).collect())
}

fn with_return(line: &[u8]) -> Vec<u8> {
    match line.strip_suffix(b"\n") {
        Some(text) if !text.ends_with(b"\r") => [text, b"\r\n"].concat(),
        _ => line.to_owned(),
    }
}

/// The terminal of this process. As it was when this is dropped.
#[derive(Debug)]
pub struct RawTerminal {
    file: AsyncFd<File>,
    before: Termios,
}

impl RawTerminal {
    /// Takes the terminal.
    ///
    /// # Errors
    /// Returns an error if there is none.
    pub fn open() -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
            .open("/dev/tty")?;
        let before = termios::tcgetattr(&file)?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(&file, OptionalActions::Now, &raw)?;
        RAW.fetch_add(1, Ordering::Relaxed);
        match register(file.try_clone()?) {
            Ok(file) => Ok(Self { file, before }),
            Err(error) => {
                RAW.fetch_sub(1, Ordering::Relaxed);
                termios::tcsetattr(&file, OptionalActions::Now, &before)?;
                Err(error)
            }
        }
    }

    /// Rows and columns.
    #[must_use]
    pub fn size(&self) -> (u16, u16) {
        match termios::tcgetwinsize(self.file.get_ref()) {
            Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row, size.ws_col),
            _ => USUAL_SIZE,
        }
    }

    /// Waits for keys.
    ///
    /// # Errors
    /// Returns an error if the terminal is gone.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        read(&self.file, buffer).await
    }

    /// Shows something.
    ///
    /// # Errors
    /// Returns an error if the terminal is gone.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        write(&self.file, bytes).await
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(self.file.get_ref(), OptionalActions::Now, &self.before);
        RAW.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_return_to_the_first_column_once() {
        assert_eq!(with_return(b"a\n"), b"a\r\n");
        assert_eq!(with_return(b"a\r\n"), b"a\r\n");
        assert_eq!(with_return(b"a"), b"a");
        assert_eq!(for_terminal(b"a\nb"), b"a\nb".as_slice());
    }
}
