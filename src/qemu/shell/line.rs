//! The lines between host and guest: the shell's terminal, and the two ports beside it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::ShellError;

/// What the guest prints when its shell is ready. NixOS before 20.09 prints an
/// empty line only.
const GREETING: &[u8] = b"Spawning backdoor root shell...";

/// How long the shell may take to answer after its greeting, before another
/// line is taken for a greeting.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// The longest line of a guest, and the longest reply to a command: 384 MiB of
/// output are 512 MiB in base64.
const MOST_LINE_BYTES: usize = 1 << 20;
const MOST_REPLY_BYTES: usize = if cfg!(test) { 64 << 10 } else { 512 << 20 };

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

/// Lines that wait to be read. Replies are long.
const QUEUE: usize = 16;
const REPLY_QUEUE: usize = 1;

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

    /// Waits for QEMU to connect. `on_cut` is called once for each stream in
    /// which a line is longer than it may be, with the stream's name.
    pub(super) async fn accept(
        &self,
        on_cut: impl Fn(&str) + Clone + Send + 'static,
    ) -> io::Result<Lines> {
        let (terminal, _) = self.terminal.accept().await?;
        let late = |listener| tokio::time::timeout(LATE, accept(listener));
        let replies = late(&self.replies).await.ok().transpose()?;
        let guard = late(&self.guard).await.ok().transpose()?;
        Ok(Lines {
            terminal: Line::over(terminal, StreamKind::Other("hvc0"), on_cut.clone()),
            replies: replies.map(|stream| Line::over(stream, StreamKind::Replies, on_cut.clone())),
            guard: guard
                .map(|stream| Line::over(stream, StreamKind::Other("the guard's port"), on_cut)),
            replies_port: None,
            greeting: None,
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

/// What comes on a stream.
#[derive(Debug, Clone, Copy)]
enum StreamKind {
    /// Replies to commands.
    Replies,
    /// Other lines; the name for messages.
    Other(&'static str),
}

/// A line as it came, with its end.
#[derive(Debug, PartialEq, Eq)]
struct Received {
    bytes: Vec<u8>,
    /// Whether the rest of it is lost, as it was too long.
    is_cut: bool,
}

/// A stream of lines in both directions. A task reads, so that no line is
/// lost when a caller stops waiting for one.
#[derive(Debug)]
pub(super) struct Line {
    incoming: mpsc::Receiver<Received>,
    outgoing: OwnedWriteHalf,
    /// The longest line, in bytes.
    limit: Arc<AtomicUsize>,
}

impl Line {
    fn over(stream: UnixStream, kind: StreamKind, on_cut: impl Fn(&str) + Send + 'static) -> Self {
        let (reading, outgoing) = stream.into_split();
        let queue = match kind {
            StreamKind::Replies => REPLY_QUEUE,
            StreamKind::Other(_) => QUEUE,
        };
        let (sender, incoming) = mpsc::channel(queue);
        let limit = Arc::new(AtomicUsize::new(MOST_LINE_BYTES));
        let on_cut = move || {
            // A reply that is cut is an error of its command.
            if let StreamKind::Other(name) = kind {
                on_cut(name);
            }
        };
        tokio::spawn(read(reading, limit.clone(), sender, on_cut));
        Self {
            incoming,
            outgoing,
            limit,
        }
    }

    /// The next line, with its end.
    pub async fn next(&mut self) -> Result<Vec<u8>, ShellError> {
        Ok(self.receive().await?.bytes)
    }

    /// The next line, which is whole.
    async fn next_reply(&mut self) -> Result<Vec<u8>, ShellError> {
        let received = self.receive().await?;
        if received.is_cut {
            return Err(too_long());
        }
        Ok(received.bytes)
    }

    async fn receive(&mut self) -> Result<Received, ShellError> {
        self.incoming.recv().await.ok_or(ShellError::Closed)
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ShellError> {
        self.outgoing
            .write_all(bytes)
            .await
            .map_err(|_| ShellError::Closed)
    }
}

async fn read(
    stream: impl AsyncRead + Unpin,
    limit: Arc<AtomicUsize>,
    sender: mpsc::Sender<Received>,
    on_cut: impl Fn(),
) {
    let mut stream = BufReader::with_capacity(1 << 16, stream);
    let mut bytes = Vec::new();
    let (mut is_cut, mut was_cut) = (false, false);
    loop {
        let chunk = match stream.fill_buf().await {
            Ok(chunk) if !chunk.is_empty() => chunk,
            _ => return,
        };
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..end.map_or(chunk.len(), |end| end + 1)];
        let room = limit.load(Ordering::Relaxed).saturating_sub(bytes.len());
        is_cut |= part.len() > room;
        bytes.extend_from_slice(&part[..part.len().min(room)]);
        let length = part.len();
        stream.consume(length);
        if is_cut && !std::mem::replace(&mut was_cut, true) {
            on_cut();
        }
        if end.is_some() {
            let received = Received {
                bytes: std::mem::take(&mut bytes),
                is_cut: std::mem::take(&mut is_cut),
            };
            if sender.send(received).await.is_err() {
                return;
            }
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
    /// The guest's end of the replies, if it has one.
    pub replies_port: Option<String>,
    /// How the guest's shell has greeted when the guest booted.
    greeting: Option<Greeting>,
}

/// What a guest prints when its shell is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeting {
    /// [`GREETING`].
    Text,
    /// An empty line, or something unknown.
    Other,
}

impl Lines {
    /// Waits until the guest's shell starts, and answers.
    ///
    /// At the first boot anything that arrives counts as a greeting. Later the
    /// shell greets as it has before: what else arrives comes from the system
    /// that is going down.
    pub async fn greeting(&mut self) -> Result<(), ShellError> {
        loop {
            let line = self.terminal.next().await?;
            let greeting = if contains(&line, GREETING) {
                Greeting::Text
            } else {
                Greeting::Other
            };
            let counts = match self.greeting {
                None => true,
                Some(Greeting::Text) => greeting == Greeting::Text,
                Some(Greeting::Other) => line.trim_ascii().is_empty(),
            };
            if counts && self.answers().await? {
                self.greeting.get_or_insert(greeting);
                return Ok(());
            }
        }
    }

    /// Whether the shell gives a token back.
    async fn answers(&mut self) -> Result<bool, ShellError> {
        let token = token("ready");
        self.terminal
            .write(format!("echo {token}\n").as_bytes())
            .await?;
        let answer = async {
            while self.terminal.next().await?.trim_ascii() != token.as_bytes() {}
            Ok(true)
        };
        match tokio::time::timeout(ANSWER_LIMIT, answer).await {
            Ok(answered) => answered,
            Err(_) => Ok(false),
        }
    }

    /// A reply may come, which may be long.
    pub fn expect_reply(&self) {
        self.limit_replies(MOST_REPLY_BYTES);
    }

    /// No reply is to come: a guest that writes all the same gets no memory for it.
    pub fn expect_none(&self) {
        self.limit_replies(MOST_LINE_BYTES);
    }

    fn limit_replies(&self, bytes: usize) {
        let beside = self
            .replies
            .as_ref()
            .filter(|_| self.replies_port.is_some());
        let line = beside.unwrap_or(&self.terminal);
        line.limit.store(bytes, Ordering::Relaxed);
    }

    /// The next line of a reply.
    pub async fn reply(&mut self) -> Result<Vec<u8>, ShellError> {
        loop {
            let beside = self
                .replies
                .as_mut()
                .filter(|_| self.replies_port.is_some());
            let line = tokio::select! {
                line = next_reply(beside) => return line,
                word = next(self.guard.as_mut()) => {
                    if word?.trim_ascii() == RESTARTED.as_bytes() {
                        return Err(ShellError::Killed);
                    }
                    continue;
                }
                received = self.terminal.receive() => received?,
            };
            if contains(&line.bytes, GREETING) {
                return Err(ShellError::Rebooted);
            }
            if self.replies_port.is_none() {
                return if line.is_cut {
                    Err(too_long())
                } else {
                    Ok(line.bytes)
                };
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

    /// Has the guard end what the shell is busy with; returns the names of that.
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

    /// Leaves out what the guard of an earlier shell has said: when a guest
    /// reboots or switches its root, it may have seen its shell end first.
    pub fn forget_guard(&mut self) {
        while self
            .guard
            .as_mut()
            .is_some_and(|guard| guard.incoming.try_recv().is_ok())
        {}
    }

    /// Leaves out what is left of earlier replies.
    pub async fn catch_up(&mut self) -> Result<(), ShellError> {
        let token = token("caught-up");
        let line = format!("echo; echo {token}{}\n", self.sink());
        self.terminal.write(line.as_bytes()).await?;
        while self.reply().await?.trim_ascii() != token.as_bytes() {}
        Ok(())
    }
}

static NEXT_TOKEN: AtomicU64 = AtomicU64::new(1);

/// Base64 makes four bytes of three.
fn too_long() -> ShellError {
    ShellError::TooLong(MOST_REPLY_BYTES / 4 * 3)
}

/// A word that the guest has not printed before.
fn token(name: &str) -> String {
    format!("{name}-{}", NEXT_TOKEN.fetch_add(1, Ordering::Relaxed))
}

async fn next_reply(line: Option<&mut Line>) -> Result<Vec<u8>, ShellError> {
    match line {
        Some(line) => line.next_reply().await,
        None => std::future::pending().await,
    }
}

async fn next(line: Option<&mut Line>) -> Result<Vec<u8>, ShellError> {
    match line {
        Some(line) => line.next().await,
        None => std::future::pending().await,
    }
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    line.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_earlier_guard_does_not_answer_for_a_new_shell() {
        let folder = tempfile::tempdir().unwrap();
        let sockets = ShellSockets::listen(folder.path()).unwrap();
        let connect = |name| UnixStream::connect(folder.path().join(name));
        let mut guard = connect("guard").await.unwrap();
        let mut terminal = connect("shell").await.unwrap();
        let mut lines = sockets.accept(|_| ()).await.unwrap();
        guard.write_all(b"restarted\n").await.unwrap();
        while lines.guard.as_ref().unwrap().incoming.is_empty() {
            tokio::task::yield_now().await;
        }
        lines.forget_guard();
        terminal.write_all(b"reply\n").await.unwrap();
        assert_eq!(lines.reply().await.unwrap(), b"reply\n");
        // The present guard's word counts.
        guard.write_all(b"restarted\n").await.unwrap();
        let error = lines.reply().await.unwrap_err();
        assert!(matches!(error, ShellError::Killed), "{error}");
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut() {
        let text = [&vec![b'A'; 100_000][..], b"\nnext\n"].concat();
        let (sender, mut lines) = mpsc::channel(QUEUE);
        let cuts = Arc::new(AtomicUsize::default());
        let counted = cuts.clone();
        let limit = Arc::new(AtomicUsize::new(1000));
        read(&text[..], limit, sender, move || {
            counted.fetch_add(1, Ordering::Relaxed);
        })
        .await;
        let first = lines.recv().await.unwrap();
        assert_eq!((first.bytes.len(), first.is_cut), (1000, true));
        let second = lines.recv().await.unwrap();
        assert_eq!((&second.bytes[..], second.is_cut), (&b"next\n"[..], false));
        assert_eq!(cuts.load(Ordering::Relaxed), 1);
    }
}
