//! The root shell of a guest, on its first virtio console.
//!
//! For each command one line goes in, and two come back: its output in
//! base64, and its exit status. A task of its own does the talking. When
//! a caller stops waiting for a command, or it takes longer than it may, the
//! task has it ended in the guest, and the shell goes on.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::error::ShellError;
use super::guard::TerminalGuard;
use super::line::ShellSockets;
use super::request::{CommandOutcome, Expect, ShellRequest};
use super::talk::Talk;
use crate::event_bus::Events;
use crate::model::event::{Event, Level};

/// The shell. Closed when it is dropped.
#[derive(Debug)]
pub struct Shell {
    requests: mpsc::Sender<ShellRequest>,
    replies_port: watch::Receiver<Option<String>>,
    guard: Option<TerminalGuard>,
}

/// How the guest's side of the shell is to be found.
#[derive(Debug, Clone)]
pub enum GuestSide {
    /// The guest boots, and prints its greeting then.
    Boots,
    /// The guest was saved between two commands, with this port for replies.
    Saved { replies_port: Option<String> },
}

impl Shell {
    /// Waits for QEMU to connect. The guest's shell is ready after its
    /// greeting. Commands whose caller has gone are emitted to `events`, as the
    /// machine's of this name.
    ///
    /// # Errors
    /// Returns an error if the sockets fail.
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
        let guard = lines
            .guard
            .as_ref()
            .map(|line| TerminalGuard(line.writer()));
        let (known, replies_port) = watch::channel(lines.replies_port.clone());
        let talk = Talk {
            lines,
            known,
            machine: machine.to_owned(),
            events,
            greeted,
            stuck: None,
            is_ending: false,
            is_stopping: false,
        };
        tokio::spawn(talk.run(receiver));
        Ok(Self {
            requests,
            replies_port,
            guard,
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

    /// The guard, which has the terminal of people, if the guest has a port for it.
    #[must_use]
    pub fn guard(&self) -> Option<&TerminalGuard> {
        self.guard.as_ref()
    }

    /// Waits until the shell answers and writes nothing more.
    ///
    /// # Errors
    /// Returns an error if the guest goes away, or does not within `limit`.
    pub async fn wait_until_silent(&self, limit: Duration) -> Result<(), ShellError> {
        self.run("", Expect::Rest, Some(limit)).await.map(drop)
    }

    /// Waits for the guest to start its shell, for the first time or after a reboot.
    ///
    /// # Errors
    /// Returns an error if QEMU closes the connection.
    pub async fn greeting(&self) -> Result<(), ShellError> {
        self.run("", Expect::Greeting, None).await.map(drop)
    }

    /// Runs a line of bash and waits for what is expected of it, for at most
    /// `limit`. Commands of several callers run one after another, in the order
    /// they came. Who stops waiting ends the command.
    ///
    /// # Errors
    /// Returns an error if the guest goes away, answers nonsense, or takes too long.
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
            [
                "{ 2>&8 8>&- echo hi | (base64 -w 0; echo) 8>&-; } < /dev/null 8>&2 2> /dev/null\n",
                "echo ${PIPESTATUS[0]}\n"
            ]
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
