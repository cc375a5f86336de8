//! Who uses a terminal of a guest, and how both sides are joined.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::TerminalText;
use crate::raw_terminal::{LEAVE, RawTerminal, USUAL_SIZE};

/// How long a guest may take to begin a session on its terminal.
const BEGIN_LIMIT: Duration = Duration::from_mins(1);

/// How much of what is typed before that is kept, in bytes.
const MOST_TYPED_AHEAD: usize = 64 << 10;

/// Who uses the guest's terminal.
#[derive(Debug)]
pub enum TerminalUser {
    Terminal(RawTerminal),
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Reads only: the standard output of this process.
    Output,
}

impl TerminalUser {
    /// The terminal of this process.
    ///
    /// # Errors
    /// Returns an error if there is none.
    pub fn terminal() -> io::Result<Self> {
        RawTerminal::open().map(Self::Terminal)
    }

    /// The listener at `tcp:HOST:PORT` or `unix:PATH`.
    ///
    /// # Errors
    /// Returns an error if nothing listens, or it is no such address.
    pub async fn at(address: &str) -> io::Result<Self> {
        let (kind, place) = address.split_once(':').unwrap_or((address, ""));
        match kind.to_ascii_lowercase().as_str() {
            "tcp" | "tcp-connect" => TcpStream::connect(place).await.map(Self::Tcp),
            "unix" | "unix-connect" => UnixStream::connect(Path::new(place)).await.map(Self::Unix),
            _ => Err(io::Error::other("an address is tcp:HOST:PORT or unix:PATH")),
        }
    }

    /// Whether keys are read as they are pressed, Ctrl-] among them.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// Rows and columns.
    #[must_use]
    pub fn size(&self) -> (u16, u16) {
        match self {
            Self::Terminal(terminal) => terminal.size(),
            Self::Tcp(_) | Self::Unix(_) | Self::Output => USUAL_SIZE,
        }
    }

    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Terminal(terminal) => terminal.read(buffer).await,
            Self::Tcp(stream) => stream.read(buffer).await,
            Self::Unix(stream) => stream.read(buffer).await,
            Self::Output => std::future::pending().await,
        }
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Terminal(terminal) => terminal.write(bytes).await,
            Self::Tcp(stream) => stream.write_all(bytes).await,
            Self::Unix(stream) => stream.write_all(bytes).await,
            Self::Output => {
                let mut output = tokio::io::stdout();
                output.write_all(bytes).await?;
                output.flush().await
            }
        }
    }
}

/// Passes on what both sides say, from the beginning of the session with a number until it ends, the user leaves, or
/// the guest has gone. Returns the exit code of what has ended.
///
/// # Errors
/// Returns an error if a side is lost, or the guest begins no session.
pub async fn converse<Resized: Future<Output = ()>>(
    user: &mut TerminalUser,
    mut guest: UnixStream,
    number: u64,
    resize: impl Fn((u16, u16)) -> Resized,
) -> io::Result<Option<u8>> {
    let mut resized = signal(SignalKind::window_change())?;
    let (mut typed, mut received) = ([0; 1024], [0; 4096]);
    let mut text = TerminalText::of(number);
    let mut typed_ahead = Vec::new();
    let mut is_greeted = false;
    let late = tokio::time::sleep(BEGIN_LIMIT);
    tokio::pin!(late);
    loop {
        tokio::select! {
            length = user.read(&mut typed) => {
                let typed = &typed[..length?];
                if typed.is_empty() || (user.has_keys() && typed.contains(&LEAVE)) {
                    return Ok(None);
                }
                if text.has_begun() {
                    guest.write_all(typed).await?;
                } else if typed_ahead.len() < MOST_TYPED_AHEAD {
                    typed_ahead.extend_from_slice(typed);
                }
            }
            length = guest.read(&mut received) => {
                let received = &received[..length?];
                if received.is_empty() {
                    return Ok(None);
                }
                let part = text.take(received);
                if part.waits && !std::mem::replace(&mut is_greeted, true) {
                    guest.write_all(format!("\n{number}\n").as_bytes()).await?;
                }
                if text.has_begun() {
                    guest.write_all(&std::mem::take(&mut typed_ahead)).await?;
                }
                user.write(&part.text).await?;
                if part.ended.is_some() {
                    return Ok(part.ended);
                }
            }
            _ = resized.recv() => resize(user.size()).await,
            () = &mut late, if !text.has_begun() => {
                return Err(io::Error::other("the guest begins no session on it"));
            }
        }
    }
}
