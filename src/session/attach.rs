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
use tokio::task::JoinSet;

use crate::host::Host;
use crate::machine::MachineError;
use crate::model::manifest::BackendKind;

/// The name of the socket in the folder of a run.
pub const ATTACH_SOCKET: &str = "attach";

/// The longest line, in bytes.
const MOST_BYTES: u64 = 1 << 20;

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
    Refused(String),
}

/// Serves those who connect to a driver with this process ID, until the result is dropped.
///
/// # Errors
/// Returns an error if the socket cannot be made.
pub(super) fn serve_attached(
    folder: &Path,
    host: Arc<Host>,
    driver: u32,
) -> io::Result<JoinSet<()>> {
    let listener = UnixListener::bind(folder.join(ATTACH_SOCKET))?;
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut clients = JoinSet::new();
        loop {
            tokio::select! {
                Ok((stream, _)) = listener.accept() => {
                    let host = host.clone();
                    // A client that has gone needs no answer.
                    clients.spawn(async move { drop(Client::of(stream, driver).serve(&host).await) });
                }
                Some(_) = clients.join_next() => {}
            }
        }
    });
    Ok(serving)
}

/// A client that has connected.
struct Client {
    driver: u32,
    requests: BufReader<OwnedReadHalf>,
    replies: OwnedWriteHalf,
}

impl Client {
    fn of(stream: UnixStream, driver: u32) -> Self {
        let (requests, replies) = stream.into_split();
        Self {
            driver,
            requests: BufReader::new(requests),
            replies,
        }
    }

    async fn serve(mut self, host: &Host) -> io::Result<()> {
        while let Some(request) = self.next().await? {
            match request {
                AttachRequest::Machines => self.reply(&machines(host, self.driver)).await?,
                AttachRequest::Terminal {
                    machine,
                    rows,
                    columns,
                    command,
                } => {
                    let served = self
                        .serve_terminal(host, &machine, (rows, columns), command.as_deref())
                        .await;
                    if let Err(error) = served {
                        self.reply(&AttachReply::Refused(error.to_string())).await?;
                    }
                    return Ok(());
                }
                // There is no terminal.
                AttachRequest::Resize { .. } => {}
            }
        }
        Ok(())
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
        let mut line = String::new();
        let mut limited = (&mut self.requests).take(MOST_BYTES);
        limited.read_line(&mut line).await?;
        if line.is_empty() {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&line)?))
    }

    async fn reply(&mut self, reply: &AttachReply) -> io::Result<()> {
        self.replies.write_all(&attach_line(reply)?).await
    }
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
