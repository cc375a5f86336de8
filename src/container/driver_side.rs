//! Connections from a container to the driver: made once for a machine, and passed to the process of each boot.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::error::{AtStep, ContainerError};
use crate::agent::TERMINAL_SOCKET;
use crate::passed_files::{receive_files, send_files};

/// How many files it has.
const FILES: usize = 5;

/// The open ends.
#[derive(Debug)]
pub(super) struct DriverSide {
    pub shell: UnixStream,
    pub replies: UnixStream,
    pub guard: UnixStream,
    /// For people: one at a time.
    pub terminal: UnixListener,
    /// The input of the serial console.
    pub typed: File,
}

impl DriverSide {
    /// Connects to the sockets in a machine's folder, as QEMU does: the shell's last.
    ///
    /// # Errors
    /// Returns an error if the driver does not listen.
    pub fn connect(folder: &Path) -> Result<Self, ContainerError> {
        let connect = |name: &str| {
            let socket = folder.join(name);
            UnixStream::connect(&socket).at_step(format!("connecting {}", socket.display()))
        };
        let terminal = folder.join(TERMINAL_SOCKET);
        let _ = std::fs::remove_file(&terminal);
        let typed = rustix::io::dup(io::stdin()).at_step("opening the console")?;
        Ok(Self {
            terminal: UnixListener::bind(&terminal)
                .at_step(format!("listening at {}", terminal.display()))?,
            typed: File::from(typed),
            replies: connect("replies")?,
            guard: connect("guard")?,
            shell: connect("shell")?,
        })
    }

    /// Passes copies of all of it over a socket.
    ///
    /// # Errors
    /// Returns an error if the other end is closed.
    pub fn pass(&self, socket: &UnixStream) -> io::Result<()> {
        let files: [_; FILES] = [
            self.shell.as_fd(),
            self.replies.as_fd(),
            self.guard.as_fd(),
            self.terminal.as_fd(),
            self.typed.as_fd(),
        ];
        send_files(socket, "d", &files)
    }

    /// Receives it from a socket.
    ///
    /// # Errors
    /// Returns an error if something else comes.
    pub fn receive(socket: impl AsFd) -> io::Result<Self> {
        let (_, files) = receive_files(socket)?;
        let Ok([shell, replies, guard, terminal, typed]) = <[OwnedFd; FILES]>::try_from(files)
        else {
            return Err(io::Error::other("it has passed something else"));
        };
        Ok(Self {
            shell: shell.into(),
            replies: replies.into(),
            guard: guard.into(),
            terminal: terminal.into(),
            typed: typed.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn what_is_passed_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let listen = |name| UnixListener::bind(folder.path().join(name)).unwrap();
        let (shell, _replies, _guard) = (listen("shell"), listen("replies"), listen("guard"));
        let made = DriverSide::connect(folder.path()).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        made.pass(&ours).unwrap();
        let mut passed = DriverSide::receive(&theirs).unwrap();
        drop(made);
        passed.shell.write_all(b"x").unwrap();
        let mut byte = [0];
        shell.accept().unwrap().0.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        ours.shutdown(std::net::Shutdown::Both).unwrap();
        assert!(DriverSide::receive(&theirs).is_err());
    }
}
