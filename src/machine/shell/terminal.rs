//! The terminal of people: a shell or a command in a guest, beside its root shell; and its serial console.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::UnixStream;
use tokio::sync::OwnedMutexGuard;

use super::GuestShell;
use crate::agent::{TERMINAL_SOCKET, TerminalGuard};
use crate::machine::MachineError;
use crate::machine::life_cycle::{LifeCycle, Running};
use crate::machine::user_terminal::{TerminalUser, converse};
use crate::model::event::Event;
use crate::raw_terminal::LEAVE;

static NEXT_SESSION: AtomicU64 = AtomicU64::new(1);

/// A session on the terminal of people, which only one user has at a time.
#[derive(Debug)]
pub struct TerminalSession {
    life: Arc<LifeCycle>,
    running: Arc<Running>,
    guard: TerminalGuard,
    number: u64,
    _only: OwnedMutexGuard<()>,
}

impl TerminalSession {
    /// The number that the marks of the session have.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The socket that takes what its user types, and gives what the guest prints.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.life.state_folder().join(TERMINAL_SOCKET)
    }

    /// Has the terminal another size: rows and columns. A guest that does not follow is no reason to end.
    pub async fn resize(&self, size: (u16, u16)) {
        let _ = self.guard.resize(size).await;
    }

    /// Works with the session as long as the machine runs, and ends it.
    ///
    /// # Errors
    /// Returns the error of `work`, or how the machine has ended.
    pub async fn during<T>(
        &self,
        work: impl Future<Output = Result<T, MachineError>>,
    ) -> Result<T, MachineError> {
        let result = Box::pin(self.life.guard(&self.running, work)).await;
        // The guest may have gone.
        let _ = self.guard.hang_up().await;
        result
    }
}

impl GuestShell {
    /// Starts a shell on the terminal of people, or a line of bash. Whatever the root shell does, it begins at once if
    /// the guest has booted.
    ///
    /// # Errors
    /// Returns an error if the machine is off or has no such terminal, or another user has it.
    pub async fn open_terminal(
        &self,
        size: (u16, u16),
        command: Option<&str>,
    ) -> Result<TerminalSession, MachineError> {
        let running = self.life.running()?;
        let only = self.people.clone().try_lock_owned().map_err(|_| {
            self.life
                .unable("has a terminal that is attached already".to_owned())
        })?;
        self.connect().await?;
        let shell = self.channel(&running).await?;
        let guard = shell.guard().cloned().ok_or_else(|| {
            self.life
                .unable("has no terminal to attach: its QEMU was started without".to_owned())
        })?;
        let number = NEXT_SESSION.fetch_add(1, Ordering::Relaxed);
        guard.start(size, number, command).await?;
        Ok(TerminalSession {
            life: self.life.clone(),
            running,
            guard,
            number,
            _only: only,
        })
    }

    /// Starts a shell in the guest on a terminal of its own, which the user's
    /// terminal becomes: keys go there as they are pressed, Ctrl-] leaves. With
    /// an address, `tcp:HOST:PORT` or `unix:PATH`, what listens there is
    /// connected instead.
    ///
    /// # Errors
    /// Returns an error if there is no terminal, nothing listens, or as for [`GuestShell::execute`].
    pub async fn shell_interact(&self, address: Option<&str>) -> Result<(), MachineError> {
        let mut user = match address {
            None => TerminalUser::terminal(),
            Some(address) => TerminalUser::at(address).await,
        }
        .map_err(|error| self.no_terminal(address, &error))?;
        self.connect().await?;
        let session = self.open_terminal(user.size(), None).await?;
        let _attached = self.attach(&user);
        let work = async {
            let talked = async {
                let guest = UnixStream::connect(session.socket()).await?;
                let resize = |size| session.resize(size);
                converse(&mut user, guest, session.number(), resize).await
            };
            talked.await.map(drop).map_err(|error| self.lost(&error))
        };
        session.during(work).await
    }

    /// Makes the user's terminal that of the guest's serial console; Ctrl-] leaves.
    ///
    /// # Errors
    /// Returns an error if there is no terminal, or the machine is off.
    pub async fn console_interact(&self) -> Result<(), MachineError> {
        let mut user = TerminalUser::terminal().map_err(|error| self.no_terminal(None, &error))?;
        let running = self.life.running()?;
        let _attached = self.attach(&user);
        let (_, mut position) = self.life.console().since(0);
        let work = async {
            let mut buffer = [0; 1024];
            loop {
                tokio::select! {
                    length = user.read(&mut buffer) => {
                        let length = length.map_err(|error| self.lost(&error))?;
                        let typed = &buffer[..length];
                        if length == 0 || typed.contains(&LEAVE) {
                            return Ok(());
                        }
                        let typed = running.process.type_on_console(typed).await;
                        typed.map_err(|error| self.lost(&error))?;
                    }
                    () = self.life.console().longer_than(position) => {
                        let (text, end) = self.life.console().since(position);
                        position = end;
                        let written = user.write(text.as_bytes()).await;
                        written.map_err(|error| self.lost(&error))?;
                    }
                }
            }
        };
        self.life.guard(&running, work).await
    }

    fn attach(&self, user: &TerminalUser) -> Option<Attached<'_>> {
        user.has_keys().then(|| Attached::to(&self.life))
    }

    fn lost(&self, error: &io::Error) -> MachineError {
        self.life.unable(format!("has lost the terminal: {error}"))
    }

    fn no_terminal(&self, address: Option<&str>, error: &io::Error) -> MachineError {
        self.life.unable(match address {
            None => format!(
                "cannot be attached to the terminal, as there is none ({error}): give an address to connect to, such as tcp:localhost:5000"
            ),
            Some(address) => format!("cannot reach {address}: {error}"),
        })
    }
}

/// The terminal is attached to the machine until this is dropped.
struct Attached<'a>(&'a LifeCycle);

impl<'a> Attached<'a> {
    fn to(life: &'a LifeCycle) -> Self {
        life.context.events.emit(Event::TerminalAttached {
            machine: life.name().to_owned(),
            attached: true,
        });
        Self(life)
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        self.0.context.events.emit(Event::TerminalAttached {
            machine: self.0.name().to_owned(),
            attached: false,
        });
    }
}
