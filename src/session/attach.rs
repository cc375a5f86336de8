//! The way into a run from other processes of its user: a socket in the run's folder.
//!
//! A client writes requests and reads replies, each of them a line of JSON. A terminal is the client's as long as its
//! connection is open.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::scratch::name_of_run;
use crate::event_bus::Events;
use crate::host::Host;
use crate::machine::MachineError;
use crate::model::event::Record;
use crate::model::manifest::BackendKind;
use crate::repl::{AttachedUser, NamesReply, NamesRequest, RemotePrompt};

/// The name of the socket in the folder of a run.
pub const ATTACH_SOCKET: &str = "attach";

/// The longest line, in bytes.
pub const MOST_LINE_BYTES: u64 = 1 << 20;

/// A request of a client.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttachRequest {
    /// The names of the virtual machines that run.
    Machines,
    /// A shell on a machine's terminal for people, or a line of bash there.
    Terminal {
        machine: String,
        rows: u16,
        columns: u16,
        command: Option<String>,
    },
    /// Another size of that terminal.
    Resize { rows: u16, columns: u16 },
    /// The name of the test, and whether its script waits for a user.
    Test,
    /// The prompt of the script, and the events of the run meanwhile.
    Prompt,
    /// A question about its names, or a text to run.
    Names(NamesRequest),
    /// The end of the call that a text has made.
    EndCall,
    /// The script is to continue.
    Leave,
}

/// A reply of the run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttachReply {
    Machines {
        /// The process that runs the test.
        driver: u32,
        names: Vec<String>,
    },
    /// The session has this number, and its text goes through this socket.
    Terminal {
        number: u64,
        socket: PathBuf,
    },
    Test {
        driver: u32,
        name: String,
        waits: bool,
    },
    /// The prompt is the client's.
    Prompt,
    Names(NamesReply),
    Event(Box<Record>),
    Refused(String),
}

/// The parts of a run that clients can reach.
#[derive(Clone)]
pub(super) struct WayIn {
    pub host: Arc<Host>,
    /// The process that runs the test.
    pub driver: u32,
    pub test: String,
    pub events: Events,
    pub prompt: RemotePrompt,
    pub end_call: mpsc::UnboundedSender<()>,
}

/// Returns the command that opens the prompt of the run with this folder.
pub(super) fn attach_command(folder: &Path) -> String {
    let name = name_of_run(folder);
    // The sandbox is its user's, and root's.
    let sudo = std::env::var_os("NIX_LOG_FD").map_or("", |_| "sudo ");
    format!("{sudo}snowglobe attach {name}")
}

/// Serves those who connect, until the result is dropped.
///
/// # Errors
/// Returns an error if the socket cannot be made.
pub(super) fn serve_attached(folder: &Path, way_in: WayIn) -> io::Result<JoinSet<()>> {
    let listener = UnixListener::bind(folder.join(ATTACH_SOCKET))?;
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut clients = JoinSet::new();
        loop {
            tokio::select! {
                Ok((stream, _)) = listener.accept() => {
                    let client = Client::of(stream, way_in.clone());
                    // A client that has gone needs no answer.
                    clients.spawn(async move { drop(client.serve().await) });
                }
                Some(_) = clients.join_next() => {}
            }
        }
    });
    Ok(serving)
}

/// A client that has connected.
struct Client {
    way_in: WayIn,
    requests: BufReader<OwnedReadHalf>,
    replies: OwnedWriteHalf,
}

impl Client {
    fn of(stream: UnixStream, way_in: WayIn) -> Self {
        let (requests, replies) = stream.into_split();
        Self {
            way_in,
            requests: BufReader::new(requests),
            replies,
        }
    }

    async fn serve(mut self) -> io::Result<()> {
        let host = self.way_in.host.clone();
        while let Some(request) = self.next().await? {
            match request {
                AttachRequest::Machines => {
                    self.reply(&machines(&host, self.way_in.driver)).await?;
                }
                AttachRequest::Test => self.reply(&self.test()).await?,
                AttachRequest::Prompt => return self.serve_prompt().await,
                AttachRequest::Terminal {
                    machine,
                    rows,
                    columns,
                    command,
                } => {
                    let served = self
                        .serve_terminal(&host, &machine, (rows, columns), command.as_deref())
                        .await;
                    if let Err(error) = served {
                        self.reply(&AttachReply::Refused(error.to_string())).await?;
                    }
                    return Ok(());
                }
                // There is no terminal, and no prompt.
                AttachRequest::Resize { .. }
                | AttachRequest::Names(_)
                | AttachRequest::EndCall
                | AttachRequest::Leave => {}
            }
        }
        Ok(())
    }

    fn test(&self) -> AttachReply {
        AttachReply::Test {
            driver: self.way_in.driver,
            name: self.way_in.test.clone(),
            waits: self.way_in.prompt.is_open(),
        }
    }

    async fn serve_prompt(self) -> io::Result<()> {
        let Self {
            way_in,
            mut requests,
            mut replies,
        } = self;
        let events = way_in.events.watch();
        let Some(user) = way_in.prompt.attach() else {
            let message = if way_in.prompt.is_open() {
                "another user is at its prompt"
            } else {
                "its script does not wait at a breakpoint, nor after a failure"
            };
            return send(&mut replies, &AttachReply::Refused(message.to_owned())).await;
        };
        send(&mut replies, &AttachReply::Prompt).await?;
        let (sender, asked) = mpsc::unbounded_channel();
        // A line that is half read is not to be lost.
        let read = async {
            while let Ok(Some(request)) = next_of(&mut requests).await {
                let _ = sender.send(request);
            }
            drop(sender);
            std::future::pending::<()>().await;
        };
        let visit = PromptVisit {
            user,
            events,
            asked,
            replies,
            end_call: way_in.end_call,
        };
        tokio::select! {
            result = visit.serve() => result,
            () = read => Ok(()),
        }
    }

    async fn serve_terminal(
        &mut self,
        host: &Host,
        machine: &str,
        size: (u16, u16),
        command: Option<&str>,
    ) -> Result<(), MachineError> {
        let machines = host.machines();
        let Some(machine) = machines.get(machine) else {
            return Err(MachineError::NotRunning(machine.to_owned()));
        };
        let session = machine.shell().open_terminal(size, command).await?;
        let opened = AttachReply::Terminal {
            number: session.number(),
            socket: session.socket(),
        };
        let work = async {
            if self.reply(&opened).await.is_err() {
                return Ok(());
            }
            while let Ok(Some(AttachRequest::Resize { rows, columns })) = self.next().await {
                session.resize((rows, columns)).await;
            }
            Ok(())
        };
        session.during(work).await
    }

    /// The next request; None if the client has gone.
    async fn next(&mut self) -> io::Result<Option<AttachRequest>> {
        next_of(&mut self.requests).await
    }

    async fn reply(&mut self, reply: &AttachReply) -> io::Result<()> {
        send(&mut self.replies, reply).await
    }
}

async fn next_of(requests: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<AttachRequest>> {
    let mut line = String::new();
    let mut limited = requests.take(MOST_LINE_BYTES);
    limited.read_line(&mut line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&line)?))
}

/// A client at the prompt of the script.
struct PromptVisit {
    user: AttachedUser,
    events: mpsc::Receiver<Record>,
    /// The requests of the client, until it has gone.
    asked: mpsc::UnboundedReceiver<AttachRequest>,
    replies: OwnedWriteHalf,
    end_call: mpsc::UnboundedSender<()>,
}

impl PromptVisit {
    async fn serve(mut self) -> io::Result<()> {
        loop {
            tokio::select! {
                Some(record) = self.events.recv() => self.pass(record).await?,
                request = self.asked.recv() => match request {
                    Some(AttachRequest::Names(request)) => self.answer(request).await?,
                    Some(AttachRequest::Leave) => {
                        self.user.leave();
                        return Ok(());
                    }
                    Some(_) => {}
                    None => return Ok(()),
                }
            }
        }
    }

    /// Answers a request, after the events that come meanwhile.
    async fn answer(&mut self, request: NamesRequest) -> io::Result<()> {
        let answer = {
            let asked = self.user.ask(request);
            tokio::pin!(asked);
            loop {
                tokio::select! {
                    biased;
                    Some(record) = self.events.recv() => {
                        send(&mut self.replies, &AttachReply::Event(Box::new(record))).await?;
                    }
                    answer = &mut asked => break answer,
                    request = self.asked.recv() => match request {
                        Some(AttachRequest::EndCall) => drop(self.end_call.send(())),
                        Some(_) => {}
                        None => {
                            let _ = self.end_call.send(());
                            return Ok(());
                        }
                    }
                }
            }
        };
        while let Ok(record) = self.events.try_recv() {
            self.pass(record).await?;
        }
        match answer {
            Some(answer) => send(&mut self.replies, &AttachReply::Names(answer)).await,
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    async fn pass(&mut self, record: Record) -> io::Result<()> {
        send(&mut self.replies, &AttachReply::Event(Box::new(record))).await
    }
}

async fn send(replies: &mut OwnedWriteHalf, reply: &AttachReply) -> io::Result<()> {
    replies.write_all(&attach_line(reply)?).await
}

/// Returns a request or a reply as a line.
///
/// # Errors
/// Returns an error if it has a path that is no text.
pub fn attach_line(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

fn machines(host: &Host, driver: u32) -> AttachReply {
    let machines = host.machines().into_iter();
    let running = machines
        .filter(|(_, machine)| machine.backend_kind() == BackendKind::Vm && machine.life().is_up());
    AttachReply::Machines {
        driver,
        names: running.map(|(name, _)| name).collect(),
    }
}
