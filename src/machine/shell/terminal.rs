//! The user's terminal, attached to a shell in a guest or to its serial console.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::signal::unix::{SignalKind, signal};

use super::GuestShell;
use crate::agent::{Expect, GuestProgram, TERMINAL, TERMINAL_DEVICE, TERMINAL_SOCKET};
use crate::machine::MachineError;
use crate::machine::life_cycle::LifeCycle;
use crate::model::event::Event;
use crate::raw_terminal::{LEAVE, RawTerminal, USUAL_SIZE};

/// Where the guest keeps the session that has the terminal.
const SESSION_FILE: &str = "/run/snowglobe-terminal";

static NEXT_END: AtomicU64 = AtomicU64::new(1);

impl GuestShell {
    /// Starts a shell in the guest on a terminal of its own, which the user's
    /// terminal becomes: keys go there as they are pressed, Ctrl-] leaves. With
    /// an address, `tcp:HOST:PORT` or `unix:PATH`, what listens there is
    /// connected instead.
    ///
    /// # Errors
    /// Returns an error if there is no terminal, nothing listens, or as for [`GuestShell::execute`].
    pub async fn shell_interact(&self, address: Option<&str>) -> Result<(), MachineError> {
        let mut user = match address {
            None => User::terminal(),
            Some(address) => User::at(address).await,
        }
        .map_err(|error| self.no_terminal(address, &error))?;
        self.connect().await?;
        let running = self.life.running()?;
        let socket = self.life.state_folder().join(TERMINAL_SOCKET);
        let guest = UnixStream::connect(&socket).await.map_err(|error| {
            self.life
                .unable(format!("has no terminal to attach: {error}"))
        })?;
        let end = format!(
            "[the shell has ended {}]",
            NEXT_END.fetch_add(1, Ordering::Relaxed)
        );
        self.execute_program(&start(user.size(), &end), Expect::Output, None)
            .await?;
        let _attached = self.attach(&user);
        let work = async {
            let ended = converse(&mut user, guest, end.as_bytes(), |size| self.resize(size)).await;
            ended.map_err(|error| self.life.unable(format!("has lost the terminal: {error}")))
        };
        let result = Box::pin(self.life.guard(&running, work)).await;
        let hang_up = TERMINAL.call("hang_up_terminal", [SESSION_FILE]);
        self.execute_program(&hang_up, Expect::Output, None).await?;
        result
    }

    async fn resize(&self, (rows, columns): (u16, u16)) {
        let (rows, columns) = (rows.to_string(), columns.to_string());
        let resize = TERMINAL.call("resize_terminal", [TERMINAL_DEVICE, &rows, &columns]);
        // A window that is not followed is no reason to end.
        let _ = self.execute_program(&resize, Expect::Output, None).await;
    }

    /// Makes the user's terminal that of the guest's serial console; Ctrl-] leaves.
    ///
    /// # Errors
    /// Returns an error if there is no terminal, or the machine is off.
    pub async fn console_interact(&self) -> Result<(), MachineError> {
        let mut user = User::terminal().map_err(|error| self.no_terminal(None, &error))?;
        let running = self.life.running()?;
        let _attached = self.attach(&user);
        let lost = |error: io::Error| self.life.unable(format!("has lost the terminal: {error}"));
        let (_, mut position) = self.life.console().since(0);
        let work = async {
            let mut buffer = [0; 1024];
            loop {
                tokio::select! {
                    length = user.read(&mut buffer) => {
                        let length = length.map_err(lost)?;
                        let typed = &buffer[..length];
                        if length == 0 || typed.contains(&LEAVE) {
                            return Ok(());
                        }
                        running.process.type_on_console(typed).await.map_err(lost)?;
                    }
                    () = self.life.console().longer_than(position) => {
                        let (text, end) = self.life.console().since(position);
                        position = end;
                        user.write(text.as_bytes()).await.map_err(lost)?;
                    }
                }
            }
        };
        self.life.guard(&running, work).await
    }

    fn attach(&self, user: &User) -> Option<Attached<'_>> {
        user.has_keys().then(|| Attached::to(&self.life))
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

fn start((rows, columns): (u16, u16), end: &str) -> GuestProgram {
    let (rows, columns) = (rows.to_string(), columns.to_string());
    let arguments = [TERMINAL_DEVICE, SESSION_FILE, &rows, &columns, end];
    TERMINAL.call("start_terminal", arguments)
}

/// Passes on what both sides say, until the guest says `end`, the user leaves
/// or has gone.
async fn converse<Resized: Future<Output = ()>>(
    user: &mut User,
    mut guest: UnixStream,
    end: &[u8],
    resize: impl Fn((u16, u16)) -> Resized,
) -> io::Result<()> {
    let mut resized = signal(SignalKind::window_change())?;
    let (mut typed, mut received) = ([0; 1024], [0; 4096]);
    let mut recent = Vec::new();
    loop {
        tokio::select! {
            length = user.read(&mut typed) => {
                let typed = &typed[..length?];
                if typed.is_empty() || (user.has_keys() && typed.contains(&LEAVE)) {
                    return Ok(());
                }
                guest.write_all(typed).await?;
            }
            length = guest.read(&mut received) => {
                let received = &received[..length?];
                if received.is_empty() {
                    return Ok(());
                }
                recent.extend_from_slice(received);
                if let Some(position) = recent.windows(end.len()).position(|window| window == end) {
                    let fresh = recent.len() - received.len();
                    return user.write(&received[..position.saturating_sub(fresh)]).await;
                }
                recent.drain(..recent.len().saturating_sub(end.len()));
                user.write(received).await?;
            }
            _ = resized.recv() => resize(user.size()).await,
        }
    }
}

/// Who uses the guest's terminal.
enum User {
    Terminal(RawTerminal),
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl User {
    fn terminal() -> io::Result<Self> {
        RawTerminal::open().map(Self::Terminal)
    }

    async fn at(address: &str) -> io::Result<Self> {
        let (kind, place) = address.split_once(':').unwrap_or((address, ""));
        match kind.to_ascii_lowercase().as_str() {
            "tcp" | "tcp-connect" => TcpStream::connect(place).await.map(Self::Tcp),
            "unix" | "unix-connect" => UnixStream::connect(Path::new(place)).await.map(Self::Unix),
            _ => Err(io::Error::other("an address is tcp:HOST:PORT or unix:PATH")),
        }
    }

    fn has_keys(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// Rows and columns.
    fn size(&self) -> (u16, u16) {
        match self {
            Self::Terminal(terminal) => terminal.size(),
            Self::Tcp(_) | Self::Unix(_) => USUAL_SIZE,
        }
    }

    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Terminal(terminal) => terminal.read(buffer).await,
            Self::Tcp(stream) => stream.read(buffer).await,
            Self::Unix(stream) => stream.read(buffer).await,
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Terminal(terminal) => terminal.write(bytes).await,
            Self::Tcp(stream) => stream.write_all(bytes).await,
            Self::Unix(stream) => stream.write_all(bytes).await,
        }
    }
}
