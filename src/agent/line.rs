//! The lines between host and guest: the shell's terminal, and the two ports beside it.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

use super::error::ShellError;
use super::program::quote;
use super::stream::{Line, MOST_LINE_BYTES, MOST_REPLY_BYTES, StreamKind, too_long};

/// The line that the guest prints when its shell is ready. NixOS before 20.09 prints an empty line only.
const GREETING: &[u8] = b"Spawning backdoor root shell...";

/// How long the shell may take to answer after its greeting, before another
/// line is taken for a greeting.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A second terminal, for people: QEMU's socket and the guest's device.
pub const TERMINAL_SOCKET: &str = "terminal";
pub const TERMINAL_DEVICE: &str = "/dev/hvc1";

/// Messages of the guard: it has started another shell, or the shell has ended because the system is stopping.
const RESTARTED: &str = "restarted";
const STOPPING: &str = "stopping";

/// Names of the ports in the guest (/sys/class/virtio-ports/…/name).
pub const REPLIES_PORT: &str = "snowglobe.replies";
pub const GUARD_PORT: &str = "snowglobe.guard";

/// QEMU connects all of its sockets before the guest runs: one that is not
/// there when the shell's is will not come.
const LATE: Duration = Duration::from_millis(500);

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
    /// Returns an error if one cannot be made.
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

/// A line that a guest prints when its shell is ready.
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
        line.set_limit(bytes);
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
                    let word = word?;
                    if word.trim_ascii() == RESTARTED.as_bytes() {
                        return Err(ShellError::Killed);
                    }
                    if word.trim_ascii() == STOPPING.as_bytes() {
                        return Err(ShellError::Stopping);
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
            .map(|port| format!(" > {}", quote(port)))
            .unwrap_or_default()
    }

    /// Has the guard end what the shell is busy with; returns the names of that.
    pub async fn end_command(&mut self) -> Result<String, ShellError> {
        let guard = self.guard.as_mut().ok_or(ShellError::Closed)?;
        guard.write(b"end\n").await?;
        loop {
            let answer = guard.next().await?;
            let answer = String::from_utf8_lossy(&answer).trim().to_owned();
            if answer != RESTARTED && answer != STOPPING {
                return Ok(answer);
            }
        }
    }

    /// Leaves out what the guard has said, which is of earlier shells: a command
    /// may have killed its shell unseen, and when a guest reboots or switches its
    /// root, the guard may have seen the shell end first. Returns whether the
    /// system is stopping.
    pub fn forget_guard(&mut self) -> bool {
        let mut is_stopping = false;
        while let Some(word) = self.guard.as_mut().and_then(Line::try_next) {
            is_stopping |= word.trim_ascii() == STOPPING.as_bytes();
        }
        is_stopping
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
    use tokio::io::AsyncWriteExt;

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
        while lines.guard.as_ref().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(!lines.forget_guard());
        terminal.write_all(b"reply\n").await.unwrap();
        assert_eq!(lines.reply().await.unwrap(), b"reply\n");
        // The present guard's word counts.
        guard.write_all(b"restarted\n").await.unwrap();
        let error = lines.reply().await.unwrap_err();
        assert!(matches!(error, ShellError::Killed), "{error}");
        guard.write_all(b"stopping\n").await.unwrap();
        let error = lines.reply().await.unwrap_err();
        assert!(matches!(error, ShellError::Stopping), "{error}");
    }
}
