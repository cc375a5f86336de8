//! The task that talks with one guest: one command after another, each to its end.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::error::ShellError;
use super::guard::set_up_line;
use super::line::Lines;
use super::program::quote;
use super::request::{CommandOutcome, Expect, NOT_YET, ShellRequest};
use crate::event_bus::Events;
use crate::model::event::{Event, Level};

/// How long the guest may take to end a command.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait for the shell before its command is ended again.
const END_PAUSE: Duration = Duration::from_secs(1);

/// How long a wait may keep the shell when others want it.
const SHARE: Duration = Duration::from_secs(2);

/// The message of the guest's shell when a command with an answer has ended.
const ENDED: &str = "ended";

/// How waiting for an answer ended.
enum WaitEnd {
    Answered(Result<CommandOutcome, ShellError>),
    Overdue,
    Abandoned,
    Yielded,
}

/// Whether the guest can still be talked with.
#[derive(Debug, PartialEq, Eq)]
enum TalkState {
    GoesOn,
    Over,
}

type Reply = oneshot::Sender<Result<CommandOutcome, ShellError>>;

/// The task that talks with one guest.
pub(super) struct Talk {
    pub lines: Lines,
    /// Reports of the port for replies.
    pub known: watch::Sender<Option<String>>,
    pub machine: String,
    pub events: Events,
    /// Whether the guest has greeted unasked.
    pub greeted: bool,
    /// The command that cannot be ended.
    pub stuck: Option<String>,
    /// Whether a command has answered, and its end is still to come.
    pub is_ending: bool,
    /// Whether the system is on its way down, and its shell has ended.
    pub is_stopping: bool,
}

/// Redirections around a command. Its input is at its end: a command neither waits for input nor takes the lines that
/// follow for its own. Messages of bash on its jobs, as on one that is killed, do not reach the console.
const AROUND: &str = "< /dev/null 8>&2 2> /dev/null";

/// Gives a command the error output of the shell, which is the console.
const OWN_ERRORS: &str = "2>&8 8>&-";

impl Talk {
    pub async fn run(mut self, mut requests: mpsc::Receiver<ShellRequest>) {
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
            if expect != Expect::Greeting
                && let Err(error) = self.leave_stopping_system().await
            {
                let _ = reply.send(Err(error));
                return;
            }
            let endable = expect != Expect::Greeting && self.lines.guard.is_some();
            let may_yield = expect == Expect::Answer && self.lines.replies_port.is_some();
            let end = tokio::select! {
                outcome = self.answer(&command, expect) => WaitEnd::Answered(outcome),
                () = after(limit) => WaitEnd::Overdue,
                () = reply.closed(), if endable => WaitEnd::Abandoned,
                () = wanted(&mut requests, &mut next), if may_yield => WaitEnd::Yielded,
            };
            if self.conclude(end, &command, expect, reply).await == TalkState::Over {
                return;
            }
        }
    }

    /// Waits for the shell of the next boot if the system is stopping and its shell
    /// has ended: what is sent before is lost.
    async fn leave_stopping_system(&mut self) -> Result<(), ShellError> {
        self.is_stopping |= self.lines.forget_guard();
        if self.is_stopping {
            self.lines.greeting().await?;
            self.set_up().await?;
        }
        Ok(())
    }

    /// Replies to a request whose wait has ended.
    async fn conclude(
        &mut self,
        end: WaitEnd,
        command: &str,
        expect: Expect,
        reply: Reply,
    ) -> TalkState {
        match end {
            WaitEnd::Answered(outcome) => {
                let broken = matches!(outcome, Err(ShellError::Closed | ShellError::Garbage(..)));
                self.is_stopping |= matches!(outcome, Err(ShellError::Stopping));
                if matches!(outcome, Err(ShellError::Rebooted)) {
                    self.greeted = true;
                    // It starts with no guard.
                    let _ = self.set_up().await;
                }
                // No caller received the greeting: the next one asks again.
                let unheard = reply.send(outcome).is_err();
                self.greeted |= unheard && expect == Expect::Greeting;
                if broken {
                    return TalkState::Over;
                }
            }
            WaitEnd::Overdue => {
                let busy = self.end(command).await.unwrap_or_default();
                let _ = reply.send(Err(ShellError::Overdue { busy }));
            }
            WaitEnd::Yielded => {
                let ended = self.end(command).await;
                let _ = reply.send(match ended {
                    Some(_) => Ok(CommandOutcome {
                        status: Some(NOT_YET),
                        output: Vec::new(),
                    }),
                    None => Err(ShellError::Busy(command.to_owned())),
                });
            }
            WaitEnd::Abandoned => {
                let busy = self.end(command).await.unwrap_or_default();
                if !busy.is_empty() {
                    self.events.emit(Event::Note {
                        machine: Some(self.machine.clone()),
                        level: Level::Info,
                        text: format!("ended a command that no caller waits for: {busy}"),
                    });
                }
            }
        }
        TalkState::GoesOn
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
                let line = format!("{{ {command} > /dev/null 2>&1; }} < /dev/null 2> /dev/null\n");
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
            Expect::Line => {
                let output = self.lines.terminal.next().await?;
                return Ok(CommandOutcome {
                    status: None,
                    output,
                });
            }
            Expect::Output | Expect::OutputAndStatus | Expect::Answer => {}
        }
        // A caller that sends another command knows that the guest has restarted.
        self.greeted = false;
        let sink = self.lines.sink();
        if expect == Expect::Answer {
            return self.ask(command).await;
        }
        let line =
            format!("{{ {OWN_ERRORS} {command} | (base64 -w 0; echo) 8>&-{sink}; }} {AROUND}\n");
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
        let port = quote(port);
        let line = format!(
            "{{ {command} bash {port} {OWN_ERRORS}; }} {AROUND}; echo {ENDED} $? > {port}\n"
        );
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
        self.is_stopping = false;
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
    let text = String::from_utf8_lossy(line);
    text[..text.floor_char_boundary(80)].trim_end().to_owned()
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
