//! The lines between host and guest: the shell's terminal, and the two ports beside it.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::ShellError;

/// What the guest prints when its shell is ready.
const GREETING: &[u8] = b"Spawning backdoor root shell...";

/// A second terminal, for people: QEMU's socket and the guest's device.
pub const TERMINAL_SOCKET: &str = "terminal";
pub const TERMINAL_DEVICE: &str = "/dev/hvc1";

/// What the guard says when it has started another shell.
const RESTARTED: &str = "restarted";

/// Names of the ports in the guest (/sys/class/virtio-ports/…/name).
pub(super) const REPLIES_PORT: &str = "snowglobe.replies";
pub(super) const GUARD_PORT: &str = "snowglobe.guard";

/// QEMU connects all of its sockets before the guest runs: one that is not
/// there when the shell's is will not come.
const LATE: Duration = Duration::from_millis(500);

/// Lines that wait to be read.
const QUEUE: usize = 16;

/// The sockets that QEMU connects to when it starts.
#[derive(Debug)]
pub struct ShellSockets {
    terminal: UnixListener,
    replies: UnixListener,
    guard: UnixListener,
}

impl ShellSockets {
    /// QEMU's arguments, to be used in the folder of the sockets. The shell's
    /// own is connected last.
    #[must_use]
    pub fn arguments() -> Vec<String> {
        vec![
            "-device virtio-serial".to_owned(),
            port("replies", &format!("virtserialport,name={REPLIES_PORT}")),
            port("guard", &format!("virtserialport,name={GUARD_PORT}")),
            port("shell", "virtconsole"),
            format!(
                "-chardev socket,id=terminal,path={TERMINAL_SOCKET},server=on,wait=off \
                 -device virtconsole,chardev=terminal"
            ),
        ]
    }

    /// Makes the sockets in a folder.
    ///
    /// # Errors
    /// When one cannot be made.
    pub fn listen(folder: &Path) -> io::Result<Self> {
        Ok(Self {
            terminal: listen(&folder.join("shell"))?,
            replies: listen(&folder.join("replies"))?,
            guard: listen(&folder.join("guard"))?,
        })
    }

    pub(super) async fn accept(&self) -> io::Result<Lines> {
        let (terminal, _) = self.terminal.accept().await?;
        let late = |listener| tokio::time::timeout(LATE, accept(listener));
        let replies = late(&self.replies).await.ok().transpose()?;
        let guard = late(&self.guard).await.ok().transpose()?;
        Ok(Lines {
            terminal: Line::over(terminal),
            replies: replies.map(Line::over),
            guard: guard.map(Line::over),
            replies_port: None,
        })
    }
}

fn port(name: &str, device: &str) -> String {
    format!("-chardev socket,id={name},path={name} -device {device},chardev={name}")
}

fn listen(socket: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(socket)
}

async fn accept(listener: &UnixListener) -> io::Result<UnixStream> {
    listener.accept().await.map(|(stream, _)| stream)
}

/// A stream of lines in both directions. A task reads, so that no line is
/// lost by whoever stops waiting for one.
#[derive(Debug)]
pub(super) struct Line {
    incoming: mpsc::Receiver<Vec<u8>>,
    outgoing: OwnedWriteHalf,
}

impl Line {
    fn over(stream: UnixStream) -> Self {
        let (reading, outgoing) = stream.into_split();
        let (sender, incoming) = mpsc::channel(QUEUE);
        tokio::spawn(read(reading, sender));
        Self { incoming, outgoing }
    }

    /// The next line, with its end.
    pub async fn next(&mut self) -> Result<Vec<u8>, ShellError> {
        self.incoming.recv().await.ok_or(ShellError::Closed)
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ShellError> {
        self.outgoing
            .write_all(bytes)
            .await
            .map_err(|_| ShellError::Closed)
    }
}

async fn read(stream: impl AsyncRead + Unpin, sender: mpsc::Sender<Vec<u8>>) {
    let mut stream = BufReader::with_capacity(1 << 16, stream);
    loop {
        let mut line = Vec::new();
        match stream.read_until(b'\n', &mut line).await {
            Ok(1..) if line.ends_with(b"\n") && sender.send(line).await.is_ok() => {}
            _ => return,
        }
    }
}

/// All lines of one guest.
#[derive(Debug)]
pub(super) struct Lines {
    pub terminal: Line,
    /// Takes a command's output faster than a terminal does.
    replies: Option<Line>,
    pub guard: Option<Line>,
    /// The guest's end of the replies, where it was found.
    pub replies_port: Option<String>,
}

impl Lines {
    /// Waits until the guest's shell starts.
    pub async fn greeting(&mut self) -> Result<(), ShellError> {
        while !contains(&self.terminal.next().await?, GREETING) {}
        Ok(())
    }

    /// The next line of a reply.
    pub async fn reply(&mut self) -> Result<Vec<u8>, ShellError> {
        loop {
            let beside = self
                .replies
                .as_mut()
                .filter(|_| self.replies_port.is_some());
            let line = tokio::select! {
                line = next(beside) => return line,
                word = next(self.guard.as_mut()) => {
                    if word?.trim_ascii() == RESTARTED.as_bytes() {
                        return Err(ShellError::Killed);
                    }
                    continue;
                }
                line = self.terminal.next() => line?,
            };
            if contains(&line, GREETING) {
                return Err(ShellError::Rebooted);
            }
            if self.replies_port.is_none() {
                return Ok(line);
            }
        }
    }

    /// Where a command's output goes, as bash writes it.
    pub fn sink(&self) -> String {
        self.replies_port
            .as_ref()
            .map(|port| format!(" > {port}"))
            .unwrap_or_default()
    }

    /// Has the guard end what the shell is busy with; gives the names of that.
    pub async fn end_command(&mut self) -> Result<String, ShellError> {
        let guard = self.guard.as_mut().ok_or(ShellError::Closed)?;
        guard.write(b"end\n").await?;
        loop {
            let answer = guard.next().await?;
            let answer = String::from_utf8_lossy(&answer).trim().to_owned();
            if answer != RESTARTED {
                return Ok(answer);
            }
        }
    }

    /// Leaves out what is left of earlier replies.
    pub async fn catch_up(&mut self) -> Result<(), ShellError> {
        let token = format!("caught-up-{}", NEXT_TOKEN.fetch_add(1, Ordering::Relaxed));
        let line = format!("echo; echo {token}{}\n", self.sink());
        self.terminal.write(line.as_bytes()).await?;
        while self.reply().await?.trim_ascii() != token.as_bytes() {}
        Ok(())
    }
}

static NEXT_TOKEN: AtomicU64 = AtomicU64::new(1);

async fn next(line: Option<&mut Line>) -> Result<Vec<u8>, ShellError> {
    match line {
        Some(line) => line.next().await,
        None => std::future::pending().await,
    }
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    line.windows(part.len()).any(|window| window == part)
}
