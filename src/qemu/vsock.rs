//! The SSH backdoor of nixpkgs' tests (26.05 or newer): a socket of the host that leads to the guest's vsock.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use thiserror::Error;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::backend::{Inability, SHELL_INSTEAD};
use crate::child::{die_with_parent, on_path};

/// The name of the socket in the machine's folder: who sends `CONNECT 22` and a line feed there has the guest's port 22.
pub const SSH_SOCKET: &str = "ssh.sock";

/// The socket by which QEMU and the server share the guest's memory.
const GUEST_SOCKET: &str = "vsock.sock";

const LOG: &str = "vhost-device-vsock.log";

/// How long the server may take to make its sockets.
const LIMIT: Duration = Duration::from_secs(10);

/// Why a machine has no backdoor, although its test asks for one.
#[derive(Debug, Error)]
pub(super) enum VsockError {
    #[error("{program} cannot be started: {source}")]
    Start { program: PathBuf, source: io::Error },
    #[error("{program} does not serve the machine: {log}")]
    Ended { program: PathBuf, log: String },
}

/// The backdoor of a machine.
#[derive(Debug)]
pub(super) enum SshBackdoor {
    /// The test asks for none.
    NotWanted,
    /// The host lacks the server.
    Missing,
    Served {
        program: PathBuf,
        /// The server of the present boot.
        server: Mutex<Option<Child>>,
    },
}

impl SshBackdoor {
    /// Looks for the program that a test wants, by its path or its name on PATH.
    pub fn of(wanted: Option<&Path>) -> Self {
        let Some(wanted) = wanted else {
            return Self::NotWanted;
        };
        let found = if wanted.is_absolute() {
            Some(wanted.to_owned()).filter(|program| program.is_file())
        } else {
            wanted.to_str().and_then(on_path)
        };
        found.map_or(Self::Missing, |program| Self::Served {
            program,
            server: Mutex::default(),
        })
    }

    /// Starts the server in the folder of the machine, in place of that of the last boot.
    ///
    /// Must be called on a thread of the runtime: the server ends with its thread.
    ///
    /// # Errors
    /// Returns an error if the server cannot be started, or makes no socket in 10 s.
    pub async fn start(&self, folder: &Path) -> Result<(), VsockError> {
        let Self::Served { program, server } = self else {
            return Ok(());
        };
        self.stop();
        let failed = |source| VsockError::Start {
            program: program.clone(),
            source,
        };
        for socket in [SSH_SOCKET, GUEST_SOCKET] {
            match fs::remove_file(folder.join(socket)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        let log = File::create(folder.join(LOG)).map_err(failed)?;
        let mut command = std::process::Command::new(program);
        // The first number that is free for a guest.
        let sockets = format!("guest-cid=3,socket={GUEST_SOCKET},uds-path={SSH_SOCKET}");
        command
            .args(["--vm", &sockets])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log);
        die_with_parent(&mut command, Signal::SIGKILL);
        let mut child = Command::from(command)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let begin = Instant::now();
        while !folder.join(GUEST_SOCKET).exists() {
            let has_ended = child.try_wait().map_err(failed)?.is_some();
            if has_ended || begin.elapsed() > LIMIT {
                let log = fs::read_to_string(folder.join(LOG)).unwrap_or_default();
                return Err(VsockError::Ended {
                    program: program.clone(),
                    log: log.trim().to_owned(),
                });
            }
            sleep(Duration::from_millis(10)).await;
        }
        *server.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        Ok(())
    }

    /// Ends the server.
    pub fn stop(&self) {
        if let Self::Served { server, .. } = self {
            drop(server.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }

    /// Returns the options of QEMU.
    pub fn options(&self) -> &'static [&'static str] {
        match self {
            Self::NotWanted | Self::Missing => &[],
            Self::Served { .. } => &[
                "-chardev socket,id=vsock_ssh,path=vsock.sock",
                "-device vhost-user-vsock-pci,chardev=vsock_ssh",
            ],
        }
    }

    /// Whether SSH reaches the machine, or why not.
    pub fn require(&self) -> Result<(), Inability> {
        let reason = match self {
            Self::Served { .. } => return Ok(()),
            Self::NotWanted => "has no SSH backdoor, which `sshBackdoor.enable` in the test gives",
            Self::Missing => "has no SSH backdoor, as `vhost-device-vsock` is not on PATH",
        };
        Err(Inability {
            reason,
            remedy: SHELL_INSTEAD,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let reason = |backdoor: SshBackdoor| backdoor.require().unwrap_err().reason;
        assert!(reason(SshBackdoor::of(None)).contains("sshBackdoor.enable"));
        let missing = SshBackdoor::of(Some(Path::new("no-such-vhost-device-vsock")));
        assert!(reason(missing).contains("is not on PATH"));
        let missing = SshBackdoor::of(Some(Path::new("/nowhere/vhost-device-vsock")));
        assert!(reason(missing).contains("is not on PATH"));
    }

    #[tokio::test]
    async fn a_server_that_ends_is_an_error_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let program = on_path("false").unwrap();
        let error = SshBackdoor::of(Some(&program)).start(folder.path()).await;
        let expected = format!("{} does not serve the machine: ", program.display());
        assert_eq!(error.unwrap_err().to_string(), expected);
    }
}
