//! The root shell of a guest, on its first virtio console.
//!
//! For each command one line goes in, and two come back: its output in
//! base64, and its exit status. A task of its own does the talking. When
//! a caller stops waiting for a command, or it takes longer than it may, the
//! task has it ended in the guest, and the shell goes on.

mod guard;
mod line;

use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use self::guard::set_up_line;
use self::line::Lines;
pub use self::line::{ShellSockets, TERMINAL_DEVICE, TERMINAL_SOCKET};
use crate::event::{Event, Events, Level};

/// How long the guest may take to end a command.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait for the shell before its command is ended again.
const END_PAUSE: Duration = Duration::from_secs(1);

/// How long a wait may keep the shell when others want it.
const SHARE: Duration = Duration::from_secs(2);

/// What the guest's shell says when a command that answers has ended.
const ENDED: &str = "ended";

/// The status of an answer that says: not yet.
pub const NOT_YET: i32 = 75;

/// Why a command has no result.
#[derive(Debug, Error)]
pub enum ShellError {
    #[error("the guest's shell was closed")]
    Closed,
    #[error("the guest's shell cannot be reached: {0}")]
    Connect(io::Error),
    #[error(
        "the guest's shell answered {0:?}, where {1} was expected: something else writes to its console"
    )]
    Garbage(String, &'static str),
    #[error(
        "the command printed more than {} MiB: have it write to a file, and use copy_from_machine()",
        .0 >> 20
    )]
    TooLong(usize),
    #[error("the guest has started anew in the middle of the command")]
    Rebooted,
    #[error("the command has killed the guest's shell, which was started anew")]
    Killed,
    #[error("the command took longer than it may")]
    Overdue {
        /// What the guest was busy with, as far as it is known.
        busy: String,
    },
    #[error("the guest's shell is still busy with `{0}`, and there is no other way into the guest")]
    Busy(String),
}

/// What a command came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandOutcome {
    /// None if it was not asked for.
    pub status: Option<i32>,
    pub output: Vec<u8>,
}

/// What is waited for after a command was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The guest's shell starts anew; nothing is sent.
    Greeting,
    Nothing,
    /// The shell answers, and nothing is left of earlier commands; none is sent.
    Rest,
    /// The command's characters are bytes to be sent as they are.
    Raw,
    Output,
    OutputAndStatus,
    /// The command itself writes a line, a status and an output in base64, to
    /// the file that it is given as an argument more. This comes sooner than
    /// what is read to its end. Where others want the shell and
    /// [`Shell::yields`], the command is ended after a while, and the status
    /// is [`NOT_YET`].
    Answer,
}

struct ShellRequest {
    command: String,
    expect: Expect,
    /// From when the shell is free for it.
    limit: Option<Duration>,
    reply: oneshot::Sender<Result<CommandOutcome, ShellError>>,
}

/// The shell. Closed when it is dropped.
#[derive(Debug)]
pub struct Shell {
    requests: mpsc::Sender<ShellRequest>,
    replies_port: watch::Receiver<Option<String>>,
}

/// How the guest's side of the shell is to be found.
#[derive(Debug, Clone)]
pub enum GuestSide {
    /// It will greet when it has booted.
    Boots,
    /// It was saved at rest, with this port for replies.
    Saved { replies_port: Option<String> },
}

impl Shell {
    /// Waits for QEMU to connect. The guest's shell is ready after its
    /// greeting. Commands whose caller has gone are emitted to `events`, as the
    /// machine's of this name.
    ///
    /// # Errors
    /// When the sockets fail.
    pub async fn accept(
        sockets: &ShellSockets,
        machine: &str,
        guest: GuestSide,
        events: Events,
    ) -> Result<Self, ShellError> {
        let on_cut = {
            let (events, machine) = (events.clone(), machine.to_owned());
            move |stream: &str| {
                events.emit(Event::Note {
                    machine: Some(machine.clone()),
                    level: Level::Warning,
                    text: format!("a line on {stream} was longer than 1 MiB and is cut"),
                });
            }
        };
        let mut lines = sockets.accept(on_cut).await.map_err(ShellError::Connect)?;
        let (requests, receiver) = mpsc::channel(1);
        let greeted = matches!(guest, GuestSide::Saved { .. });
        if let GuestSide::Saved { replies_port } = guest {
            lines.replies_port = replies_port;
        }
        let (known, replies_port) = watch::channel(lines.replies_port.clone());
        let talk = Talk {
            lines,
            known,
            machine: machine.to_owned(),
            events,
            greeted,
            stuck: None,
            is_ending: false,
        };
        tokio::spawn(talk.run(receiver));
        Ok(Self {
            requests,
            replies_port,
        })
    }

    /// Whether a command that answers can be ended for the sake of others.
    #[must_use]
    pub fn yields(&self) -> bool {
        self.replies_port.borrow().is_some()
    }

    /// The guest's port for replies, if there is one.
    #[must_use]
    pub fn replies_port(&self) -> Option<String> {
        self.replies_port.borrow().clone()
    }

    /// Waits until the shell answers and has nothing left to say.
    ///
    /// # Errors
    /// When the guest goes away, or does not within `limit`.
    pub async fn rest(&self, limit: Duration) -> Result<(), ShellError> {
        self.run("", Expect::Rest, Some(limit)).await.map(drop)
    }

    /// Waits for the guest to start its shell, for the first time or after a reboot.
    ///
    /// # Errors
    /// When QEMU closes the connection.
    pub async fn greeting(&self) -> Result<(), ShellError> {
        self.run("", Expect::Greeting, None).await.map(drop)
    }

    /// Runs a line of bash and waits for what is expected of it, for at most
    /// `limit`. Commands of several callers run one after another, in the order
    /// they came. Who stops waiting ends the command.
    ///
    /// # Errors
    /// When the guest goes away, answers nonsense, or takes too long.
    pub async fn run(
        &self,
        command: &str,
        expect: Expect,
        limit: Option<Duration>,
    ) -> Result<CommandOutcome, ShellError> {
        let (reply, answer) = oneshot::channel();
        let request = ShellRequest {
            command: command.to_owned(),
            expect,
            limit,
            reply,
        };
        self.requests
            .send(request)
            .await
            .map_err(|_| ShellError::Closed)?;
        answer.await.map_err(|_| ShellError::Closed)?
    }
}

/// How waiting for an answer ended.
enum WaitEnd {
    Answered(Result<CommandOutcome, ShellError>),
    Overdue,
    Abandoned,
    Yielded,
}

/// The task that talks with one guest.
struct Talk {
    lines: Lines,
    /// Reports of the port for replies.
    known: watch::Sender<Option<String>>,
    machine: String,
    events: Events,
    /// Whether the guest has greeted unasked.
    greeted: bool,
    /// The command that cannot be ended.
    stuck: Option<String>,
    /// Whether a command has answered, and its end is still to come.
    is_ending: bool,
}

impl Talk {
    async fn run(mut self, mut requests: mpsc::Receiver<ShellRequest>) {
        let mut next = None;
        loop {
            let request = match next.take() {
                Some(request) => request,
                None => match requests.recv().await {
                    Some(request) => request,
                    None => return,
                },
            };
            let ShellRequest {
                command,
                expect,
                limit,
                mut reply,
            } = request;
            if reply.is_closed() {
                // The caller no longer waits: it need not begin.
                continue;
            }
            if let Some(command) = &self.stuck {
                let _ = reply.send(Err(ShellError::Busy(command.clone())));
                continue;
            }
            let endable = expect != Expect::Greeting && self.lines.guard.is_some();
            let may_yield = expect == Expect::Answer && self.lines.replies_port.is_some();
            let turn = tokio::select! {
                outcome = self.answer(&command, expect) => WaitEnd::Answered(outcome),
                () = after(limit) => WaitEnd::Overdue,
                () = reply.closed(), if endable => WaitEnd::Abandoned,
                () = wanted(&mut requests, &mut next), if may_yield => WaitEnd::Yielded,
            };
            match turn {
                WaitEnd::Answered(outcome) => {
                    let broken =
                        matches!(outcome, Err(ShellError::Closed | ShellError::Garbage(..)));
                    if matches!(outcome, Err(ShellError::Rebooted)) {
                        self.greeted = true;
                        // It starts with no guard.
                        let _ = self.set_up().await;
                    }
                    // No caller received the greeting: the next one asks again.
                    let unheard = reply.send(outcome).is_err();
                    self.greeted |= unheard && expect == Expect::Greeting;
                    if broken {
                        return;
                    }
                }
                WaitEnd::Overdue => {
                    let busy = self.end(&command).await.unwrap_or_default();
                    let _ = reply.send(Err(ShellError::Overdue { busy }));
                }
                WaitEnd::Yielded => {
                    let ended = self.end(&command).await;
                    let _ = reply.send(match ended {
                        Some(_) => Ok(CommandOutcome {
                            status: Some(NOT_YET),
                            output: Vec::new(),
                        }),
                        None => Err(ShellError::Busy(command)),
                    });
                }
                WaitEnd::Abandoned => {
                    let busy = self.end(&command).await.unwrap_or_default();
                    if !busy.is_empty() {
                        self.events.emit(Event::Note {
                            machine: Some(self.machine.clone()),
                            level: Level::Info,
                            text: format!("ended a command that no caller waits for: {busy}"),
                        });
                    }
                }
            }
        }
    }

    /// Has the guest end what its shell is busy with; returns what that was.
    async fn end(&mut self, command: &str) -> Option<String> {
        let ended = tokio::time::timeout(END_PATIENCE, async {
            let mut busy = String::new();
            loop {
                let names = self.lines.end_command().await?;
                if !names.is_empty() {
                    busy = names;
                }
                // The shell may have begun with the command only then.
                let caught_up = tokio::time::timeout(END_PAUSE, self.lines.catch_up()).await;
                if let Ok(result) = caught_up {
                    return result.map(|()| busy);
                }
            }
        });
        let busy = ended.await.ok().and_then(Result::ok);
        self.is_ending = false;
        if busy.is_none() {
            self.stuck = Some(command.to_owned());
        }
        busy
    }

    async fn answer(
        &mut self,
        command: &str,
        expect: Expect,
    ) -> Result<CommandOutcome, ShellError> {
        match expect {
            Expect::Greeting => {
                if !std::mem::take(&mut self.greeted) {
                    self.lines.greeting().await?;
                    self.set_up().await?;
                }
                return Ok(CommandOutcome::default());
            }
            Expect::Rest => {
                self.lines.catch_up().await?;
                self.is_ending = false;
                return Ok(CommandOutcome::default());
            }
            Expect::Nothing => {
                // It must not take the lines that follow for its own input.
                let line = format!("{command} < /dev/null > /dev/null 2>&1\n");
                self.lines.terminal.write(line.as_bytes()).await?;
                return Ok(CommandOutcome::default());
            }
            Expect::Raw => {
                let bytes: Vec<u8> = command
                    .chars()
                    .filter_map(|c| u8::try_from(c).ok())
                    .collect();
                self.lines.terminal.write(&bytes).await?;
                return Ok(CommandOutcome::default());
            }
            Expect::Output | Expect::OutputAndStatus | Expect::Answer => {}
        }
        // A caller that sends another command knows that the guest has restarted.
        self.greeted = false;
        let sink = self.lines.sink();
        if expect == Expect::Answer {
            return self.ask(command).await;
        }
        let line = format!("{command} | (base64 -w 0; echo){sink}\n");
        let output = parse_output(&self.exchange(&line).await?)?;
        let status = if expect == Expect::Output {
            None
        } else {
            let line = format!("echo ${{PIPESTATUS[0]}}{sink}\n");
            Some(parse_status(&self.exchange(&line).await?)?)
        };
        Ok(CommandOutcome { status, output })
    }

    /// Has the shell run a command that answers by itself. The command opens
    /// the port for replies only to answer: only one process can have it
    /// open, and what the command leaves behind must not hold it.
    async fn ask(&mut self, command: &str) -> Result<CommandOutcome, ShellError> {
        let port = self.lines.replies_port.as_deref().unwrap_or("/dev/stdout");
        let line = format!("{command} bash {port}; echo {ENDED} $? > {port}\n");
        let answer = self.exchange(&line).await?;
        // Where it ends without a word, its status is the answer.
        let (status, output) = if let Some(status) = answer.strip_prefix(ENDED.as_bytes()) {
            (status, [].as_slice())
        } else {
            self.is_ending = true;
            let end = answer.iter().position(|byte| *byte == b' ');
            answer.split_at(end.unwrap_or(answer.len()))
        };
        Ok(CommandOutcome {
            status: Some(parse_status(status)?),
            output: parse_output(output)?,
        })
    }

    /// Has the shell run a line that is answered by one.
    async fn exchange(&mut self, line: &str) -> Result<Vec<u8>, ShellError> {
        self.lines.expect_reply();
        self.lines.terminal.write(line.as_bytes()).await?;
        if std::mem::take(&mut self.is_ending) {
            self.lines.reply().await?;
        }
        let reply = self.lines.reply().await;
        self.lines.expect_none();
        reply
    }

    /// Starts the guard in the guest and finds the port for replies. A guest
    /// without such ports does without.
    async fn set_up(&mut self) -> Result<(), ShellError> {
        self.lines.replies_port = None;
        self.known.send_replace(None);
        let is_ending = std::mem::take(&mut self.is_ending);
        if self.lines.guard.is_none() {
            return Ok(());
        }
        self.lines.forget_guard();
        let answer = self.exchange(&set_up_line()).await?;
        let port = String::from_utf8_lossy(&answer).trim().to_owned();
        self.lines.replies_port = (!port.is_empty()).then_some(port);
        // The guard has found its own port by the same way.
        self.known.send_replace(self.lines.replies_port.clone());
        if is_ending {
            // The shell before this one may have said so: it has not been read.
            self.lines.catch_up().await?;
        }
        Ok(())
    }
}

/// Ends when another request is there and the one at hand had its share of time.
async fn wanted(requests: &mut mpsc::Receiver<ShellRequest>, next: &mut Option<ShellRequest>) {
    let share = tokio::time::sleep(SHARE);
    match requests.recv().await {
        Some(request) => *next = Some(request),
        None => std::future::pending().await,
    }
    share.await;
}

async fn after(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

fn excerpt(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(80)])
        .trim_end()
        .to_owned()
}

fn parse_output(line: &[u8]) -> Result<Vec<u8>, ShellError> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(line.trim_ascii())
        .map_err(|_| ShellError::Garbage(excerpt(line), "a command's output in base64"))
}

fn parse_status(line: &[u8]) -> Result<i32, ShellError> {
    std::str::from_utf8(line)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| ShellError::Garbage(excerpt(line), "a command's exit status"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::UnixStream;

    use super::*;

    /// A guest that answers from a list, as soon as it has given the token of
    /// the greeting back; returns what it was sent.
    async fn guest(
        answers: &'static [&'static str],
    ) -> (Shell, tokio::task::JoinHandle<Vec<String>>) {
        let folder = tempfile::tempdir().unwrap();
        let sockets = ShellSockets::listen(folder.path()).unwrap();
        let stream = UnixStream::connect(folder.path().join("shell"))
            .await
            .unwrap();
        let other_end = tokio::spawn(async move {
            let _folder = folder;
            let mut stream = BufReader::new(stream);
            let mut heard = Vec::new();
            let mut answers = answers.iter();
            let greeting = answers.next().unwrap();
            let greeting = format!("{greeting}\n");
            stream
                .get_mut()
                .write_all(greeting.as_bytes())
                .await
                .unwrap();
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            let token = line.strip_prefix("echo ready-").unwrap();
            let answer = format!("ready-{token}");
            stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
            for answer in answers {
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                heard.push(line);
                let answer = format!("{answer}\n");
                stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
            }
            heard
        });
        let (sender, _) = std::sync::mpsc::channel();
        let shell = Shell::accept(&sockets, "m", GuestSide::Boots, Events::new(sender))
            .await
            .unwrap();
        shell.greeting().await.unwrap();
        (shell, other_end)
    }

    #[tokio::test]
    async fn a_command_has_output_and_status() {
        let (shell, guest) = guest(&["Spawning backdoor root shell...", "aGkK", "3"]).await;
        let outcome = shell
            .run("echo hi", Expect::OutputAndStatus, None)
            .await
            .unwrap();
        assert_eq!(outcome.status, Some(3));
        assert_eq!(outcome.output, b"hi\n");
        assert_eq!(
            guest.await.unwrap(),
            ["echo hi | (base64 -w 0; echo)\n", "echo ${PIPESTATUS[0]}\n"]
        );
    }

    #[tokio::test]
    async fn any_line_is_a_greeting() {
        // NixOS before 20.09 prints an empty line.
        for greeting in [&["", "aGkK", "0"], &["what else", "aGkK", "0"]] {
            let (shell, guest) = guest(greeting).await;
            let outcome = shell.run("echo hi", Expect::OutputAndStatus, None).await;
            assert_eq!(outcome.unwrap().output, b"hi\n");
            guest.await.unwrap();
        }
    }

    #[tokio::test]
    async fn garbage_is_named() {
        let (shell, _guest) = guest(&["Spawning backdoor root shell...", "%%%"]).await;
        let error = shell
            .run("true", Expect::OutputAndStatus, None)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("\"%%%\""), "{error}");
    }

    #[tokio::test]
    async fn a_reply_without_end_is_an_error() {
        let text: &'static str = "x".repeat(100_000).leak();
        let answers: &'static [&'static str] = vec!["", text].leak();
        let (shell, _guest) = guest(answers).await;
        let error = shell.run("yes", Expect::Output, None).await.unwrap_err();
        assert!(matches!(error, ShellError::TooLong(_)), "{error}");
    }

    #[tokio::test]
    async fn a_guest_that_goes_away_is_told() {
        let (shell, guest) = guest(&["Spawning backdoor root shell..."]).await;
        guest.await.unwrap();
        let error = shell
            .run("true", Expect::OutputAndStatus, None)
            .await
            .unwrap_err();
        assert!(matches!(error, ShellError::Closed), "{error}");
    }
}
