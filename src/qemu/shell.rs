//! The root shell of a guest, on its first virtio console.
//!
//! For each command one line goes in, and two come back: its output in
//! base64, and its exit status. A task of its own does the talking, so that
//! whoever stops waiting leaves the shell in order.

use std::io;
use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use thiserror::Error;

/// What the guest prints when its shell is ready.
const GREETING: &[u8] = b"Spawning backdoor root shell...";

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
}

/// What a command came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// None where it was not asked for.
    pub status: Option<i32>,
    pub output: Vec<u8>,
}

/// What is waited for after a command was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The guest's shell starts anew; nothing is sent.
    Greeting,
    Nothing,
    /// The command's characters are bytes to be sent as they are.
    Raw,
    Output,
    OutputAndStatus,
}

struct Request {
    command: String,
    expect: Expect,
    reply: oneshot::Sender<Result<Outcome, ShellError>>,
}

/// The shell. Closed when it is dropped.
#[derive(Debug)]
pub struct Shell {
    requests: mpsc::Sender<Request>,
}

impl Shell {
    /// Makes the socket that QEMU connects to when it starts.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn listen(socket: &Path) -> io::Result<UnixListener> {
        match std::fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        UnixListener::bind(socket)
    }

    /// Waits for QEMU to connect. The guest's shell is ready after its greeting.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn accept(listener: &UnixListener) -> Result<Self, ShellError> {
        let (stream, _) = listener.accept().await.map_err(ShellError::Connect)?;
        let (requests, receiver) = mpsc::channel(1);
        tokio::spawn(talk(BufReader::new(stream), receiver));
        Ok(Self { requests })
    }

    /// Waits for the guest to start its shell, for the first time or after a reboot.
    ///
    /// # Errors
    /// When QEMU closes the connection.
    pub async fn greeting(&self) -> Result<(), ShellError> {
        self.request("", Expect::Greeting).await.map(drop)
    }

    /// Runs a line of bash and waits for what is expected of it. Commands of
    /// several callers run one after another, in the order they came.
    ///
    /// # Errors
    /// When the guest goes away or answers nonsense.
    pub async fn run(&self, command: &str, expect: Expect) -> Result<Outcome, ShellError> {
        self.request(command, expect).await
    }

    async fn request(&self, command: &str, expect: Expect) -> Result<Outcome, ShellError> {
        let (reply, answer) = oneshot::channel();
        let request = Request {
            command: command.to_owned(),
            expect,
            reply,
        };
        self.requests
            .send(request)
            .await
            .map_err(|_| ShellError::Closed)?;
        answer.await.map_err(|_| ShellError::Closed)?
    }
}

async fn talk(mut stream: BufReader<UnixStream>, mut requests: mpsc::Receiver<Request>) {
    while let Some(request) = requests.recv().await {
        let outcome = answer(&mut stream, &request).await;
        let broken = outcome.is_err();
        let _ = request.reply.send(outcome);
        if broken {
            return;
        }
    }
}

async fn answer(
    stream: &mut BufReader<UnixStream>,
    request: &Request,
) -> Result<Outcome, ShellError> {
    let mut answer = Vec::new();
    match request.expect {
        Expect::Greeting => {
            while !contains(&answer, GREETING) {
                answer.clear();
                read_line(stream, &mut answer).await?;
            }
            return Ok(Outcome::default());
        }
        Expect::Nothing => {
            // It must not take the lines that follow for its own input.
            let line = format!("{} < /dev/null > /dev/null 2>&1\n", request.command);
            write(stream, line.as_bytes()).await?;
            return Ok(Outcome::default());
        }
        Expect::Raw => {
            let chars = request.command.chars();
            let bytes: Vec<u8> = chars.filter_map(|c| u8::try_from(c).ok()).collect();
            write(stream, &bytes).await?;
            return Ok(Outcome::default());
        }
        Expect::Output | Expect::OutputAndStatus => {}
    }
    let line = format!("{} | (base64 -w 0; echo)\n", request.command);
    write(stream, line.as_bytes()).await?;
    read_line(stream, &mut answer).await?;
    let output = decode_base64(&answer)
        .ok_or_else(|| ShellError::Garbage(excerpt(&answer), "a command's output in base64"))?;
    if request.expect == Expect::Output {
        return Ok(Outcome {
            status: None,
            output,
        });
    }
    write(stream, b"echo ${PIPESTATUS[0]}\n").await?;
    answer.clear();
    read_line(stream, &mut answer).await?;
    let status = std::str::from_utf8(&answer)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| ShellError::Garbage(excerpt(&answer), "a command's exit status"))?;
    Ok(Outcome {
        status: Some(status),
        output,
    })
}

async fn write(stream: &mut BufReader<UnixStream>, bytes: &[u8]) -> Result<(), ShellError> {
    stream
        .get_mut()
        .write_all(bytes)
        .await
        .map_err(|_| ShellError::Closed)
}

async fn read_line(
    stream: &mut BufReader<UnixStream>,
    line: &mut Vec<u8>,
) -> Result<(), ShellError> {
    match stream.read_until(b'\n', line).await {
        Ok(length) if length > 0 && line.ends_with(b"\n") => Ok(()),
        _ => Err(ShellError::Closed),
    }
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    line.windows(part.len()).any(|window| window == part)
}

fn excerpt(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(80)])
        .trim_end()
        .to_owned()
}

fn decode_base64(line: &[u8]) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let trimmed = line.trim_ascii();
    base64::engine::general_purpose::STANDARD
        .decode(trimmed)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guest that answers from a list; gives what it was sent.
    async fn guest(
        answers: &'static [&'static str],
    ) -> (Shell, tokio::task::JoinHandle<Vec<String>>) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("shell");
        let listener = Shell::listen(&socket).unwrap();
        let stream = UnixStream::connect(&socket).await.unwrap();
        let other_end = tokio::spawn(async move {
            let _folder = folder;
            let mut stream = BufReader::new(stream);
            let mut heard = Vec::new();
            for answer in answers {
                if !answer.starts_with("Spawning") {
                    let mut line = String::new();
                    stream.read_line(&mut line).await.unwrap();
                    heard.push(line);
                }
                let answer = format!("{answer}\n");
                stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
            }
            heard
        });
        let shell = Shell::accept(&listener).await.unwrap();
        shell.greeting().await.unwrap();
        (shell, other_end)
    }

    #[tokio::test]
    async fn a_command_has_output_and_status() {
        let (shell, guest) = guest(&["Spawning backdoor root shell...", "aGkK", "3"]).await;
        let outcome = shell.run("echo hi", Expect::OutputAndStatus).await.unwrap();
        assert_eq!(outcome.status, Some(3));
        assert_eq!(outcome.output, b"hi\n");
        assert_eq!(
            guest.await.unwrap(),
            ["echo hi | (base64 -w 0; echo)\n", "echo ${PIPESTATUS[0]}\n"]
        );
    }

    #[tokio::test]
    async fn garbage_is_named() {
        let (shell, _guest) = guest(&["Spawning backdoor root shell...", "%%%"]).await;
        let error = shell
            .run("true", Expect::OutputAndStatus)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("\"%%%\""), "{error}");
    }

    #[tokio::test]
    async fn a_guest_that_goes_away_is_told() {
        let (shell, guest) = guest(&["Spawning backdoor root shell..."]).await;
        guest.await.unwrap();
        let error = shell
            .run("true", Expect::OutputAndStatus)
            .await
            .unwrap_err();
        assert!(matches!(error, ShellError::Closed), "{error}");
    }
}
