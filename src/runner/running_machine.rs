//! The machines that run now, in any test of this user, and what another process does on one of them.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::container_shell;
use super::error::RunnerError;
use crate::agent::quote;
use crate::container::{RunningContainer, running_containers};
use crate::machine::{TerminalUser, converse};
use crate::session::{
    ATTACH_SOCKET, AttachReply, AttachRequest, MOST_LINE_BYTES, attach_line, folders_of_runs,
};

/// How long a run may take to say which machines it has.
pub(super) const LIST_LIMIT: Duration = Duration::from_secs(2);

/// How long a run may take to open a terminal: its guest may have to boot.
const OPEN_LIMIT: Duration = Duration::from_mins(15);

/// The exit code if the machine has ended before the command: that of `SIGKILL`, as in shells.
const KILLED: u8 = 137;

/// A machine that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunningMachine {
    Container(RunningContainer),
    Vm(RunningVm),
}

/// A virtual machine that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningVm {
    /// The name of the machine.
    name: String,
    /// The process that runs its test.
    driver: u32,
    /// The socket of the run.
    socket: PathBuf,
}

impl RunningMachine {
    /// The name of the machine.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Container(container) => &container.name,
            Self::Vm(vm) => &vm.name,
        }
    }

    fn full_name(&self) -> String {
        let driver = match self {
            Self::Container(container) => container.driver,
            Self::Vm(vm) => vm.driver,
        };
        format!("{driver}/{}", self.name())
    }

    /// Makes the user's terminal that of a new shell in the guest, until that ends or Ctrl-] is typed.
    ///
    /// # Errors
    /// Returns an error if the machine has ended meanwhile, or there is no terminal.
    pub async fn shell(&self) -> Result<(), RunnerError> {
        let failed = |error| RunnerError::host("cannot open a shell")(error);
        match self {
            Self::Container(container) => container_shell::shell_in(container).await,
            Self::Vm(vm) => {
                let user = TerminalUser::terminal().map_err(failed)?;
                vm.converse(user, None).await.map(drop).map_err(failed)
            }
        }
    }

    /// Runs a command in the guest, and returns its exit code. A single word is a line for the guest's shell. In a
    /// container it has the standard streams of this process; in a virtual machine it has no input, and its errors are
    /// part of its output.
    ///
    /// # Errors
    /// Returns an error if the command cannot be started, or its output cannot be passed on.
    pub async fn command(&self, words: &[String]) -> Result<u8, RunnerError> {
        let code = match self {
            Self::Container(container) => container_shell::command_in(container, words).await?,
            Self::Vm(vm) => {
                let failed = RunnerError::host("cannot run a command in a virtual machine");
                let line = match words {
                    [line] => line.clone(),
                    words => {
                        let quoted = words.iter().map(|word| quote(word));
                        quoted.collect::<Vec<_>>().join(" ")
                    }
                };
                let code = vm.converse(TerminalUser::Output, Some(line)).await;
                code.map_err(failed)?
            }
        };
        Ok(code.unwrap_or(KILLED))
    }
}

impl RunningVm {
    async fn converse(
        &self,
        mut user: TerminalUser,
        command: Option<String>,
    ) -> io::Result<Option<u8>> {
        let (rows, columns) = user.size();
        let request = AttachRequest::Terminal {
            machine: self.name.clone(),
            rows,
            columns,
            command,
        };
        let mut run = connect(&self.socket)?;
        let (number, socket) = match ask(&mut run, &request, OPEN_LIMIT)? {
            AttachReply::Terminal { number, socket } => (number, socket),
            AttachReply::Refused(message) => return Err(io::Error::other(message)),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        let guest = tokio::net::UnixStream::connect(socket).await?;
        let run = run.into_inner();
        run.set_nonblocking(true)?;
        let (ended, resizes) = tokio::net::UnixStream::from_std(run)?.into_split();
        let resizes = tokio::sync::Mutex::new(resizes);
        let resize = async |(rows, columns)| {
            if let Ok(line) = attach_line(&AttachRequest::Resize { rows, columns }) {
                // The run may end now.
                let _ = resizes.lock().await.write_all(&line).await;
            }
        };
        tokio::select! {
            code = converse(&mut user, guest, number, resize) => code,
            // The machine has ended, or the run.
            _ = ended.readable() => Ok(None),
        }
    }
}

/// Connects to a run.
///
/// # Errors
/// Returns an error if the run has ended.
pub(super) fn connect(socket: &Path) -> io::Result<BufReader<UnixStream>> {
    UnixStream::connect(socket).map(BufReader::new)
}

/// Sends a request to a run, and waits for the reply. What comes after it stays to be read.
///
/// # Errors
/// Returns an error if the run ends, or takes longer than `limit`.
pub(super) fn ask(
    run: &mut BufReader<UnixStream>,
    request: &AttachRequest,
    limit: Duration,
) -> io::Result<AttachReply> {
    run.get_ref().set_read_timeout(Some(limit))?;
    run.get_mut().write_all(&attach_line(request)?)?;
    let mut line = String::new();
    run.take(MOST_LINE_BYTES).read_line(&mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&line)?)
}

/// The machines of all runs that this user has here now.
#[must_use]
pub fn running_machines() -> Vec<RunningMachine> {
    let runs = folders_of_runs();
    let containers = running_containers(&runs).into_iter();
    let mut running: Vec<RunningMachine> = containers.map(RunningMachine::Container).collect();
    let vms = runs.iter().flat_map(|run| vms_of(run));
    running.extend(vms.map(RunningMachine::Vm));
    running
}

/// The virtual machines of a run; none if it has ended, or does not answer.
fn vms_of(run: &Path) -> Vec<RunningVm> {
    let socket = run.join(ATTACH_SOCKET);
    let asked =
        connect(&socket).and_then(|mut run| ask(&mut run, &AttachRequest::Machines, LIST_LIMIT));
    let Ok(AttachReply::Machines { driver, names }) = asked else {
        return Vec::new();
    };
    let vm = |name| RunningVm {
        name,
        driver,
        socket: socket.clone(),
    };
    names.into_iter().map(vm).collect()
}

/// Finds the machine that `wanted` names, as `NAME` or `DRIVER/NAME` with the process ID of its driver; None is the
/// only one that runs.
///
/// # Errors
/// Returns an error if there is not one.
pub fn find_running(wanted: Option<&str>) -> Result<RunningMachine, RunnerError> {
    choose(&running_machines(), wanted)
}

fn choose(running: &[RunningMachine], wanted: Option<&str>) -> Result<RunningMachine, RunnerError> {
    let is_wanted = |machine: &&RunningMachine| {
        wanted.is_none_or(|wanted| machine.name() == wanted || machine.full_name() == wanted)
    };
    let fitting: Vec<&RunningMachine> = running.iter().filter(is_wanted).collect();
    if let [only] = fitting.as_slice() {
        return Ok((*only).clone());
    }
    let names = |machines: &[&RunningMachine]| {
        let names = machines.iter().map(|machine| machine.full_name());
        names.collect::<Vec<_>>().join(", ")
    };
    let problem = match wanted {
        _ if running.is_empty() => "no machine of a test runs here".to_owned(),
        Some(wanted) if fitting.is_empty() => {
            let all: Vec<&RunningMachine> = running.iter().collect();
            format!("no machine `{wanted}` runs, but {}", names(&all))
        }
        _ => format!("say which of these machines: {}", names(&fitting)),
    };
    Err(RunnerError::Running(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_right_after_a_reply_is_not_lost() {
        let (run, mut other) = UnixStream::pair().unwrap();
        let both = [AttachReply::Prompt, AttachReply::Refused("next".to_owned())];
        let lines = both.map(|reply| attach_line(&reply).unwrap()).concat();
        other.write_all(&lines).unwrap();
        let mut run = BufReader::new(run);
        let reply = ask(&mut run, &AttachRequest::Prompt, LIST_LIMIT).unwrap();
        assert!(matches!(reply, AttachReply::Prompt), "{reply:?}");
        let mut rest = String::new();
        run.read_line(&mut rest).unwrap();
        assert!(rest.contains("next"), "{rest}");
    }

    #[test]
    fn a_machine_is_named_so_that_there_is_one() {
        let container = |driver, name: &str| {
            RunningMachine::Container(RunningContainer {
                name: name.to_owned(),
                driver,
                boot: 1,
            })
        };
        let vm = RunningMachine::Vm(RunningVm {
            name: "server".to_owned(),
            driver: 9,
            socket: PathBuf::new(),
        });
        let running = [container(7, "client"), container(7, "server"), vm.clone()];
        let chosen = |wanted| choose(&running, wanted);
        assert_eq!(chosen(Some("client")).unwrap(), running[0]);
        assert_eq!(chosen(Some("9/server")).unwrap(), vm);
        assert_eq!(choose(&running[..1], None).unwrap().name(), "client");
        let message = |wanted| chosen(wanted).unwrap_err().to_string();
        assert_eq!(
            message(Some("server")),
            "say which of these machines: 7/server, 9/server"
        );
        assert_eq!(
            message(Some("web")),
            "no machine `web` runs, but 7/client, 7/server, 9/server"
        );
    }
}
