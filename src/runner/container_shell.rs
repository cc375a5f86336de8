//! A shell on a machine of a test that runs already, in another process.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};

use super::error::RunnerError;
use crate::async_file::{read, register, write};
use crate::child;
use crate::container::{ENTER, RunningContainer, running_containers};
use crate::passed_files::receive_files;
use crate::raw_terminal::{LEAVE, RawTerminal};
use crate::session::folders_of_runs;

/// Finds the container that `wanted` names, as `NAME` or `DRIVER/NAME` with the process ID of its driver; None is the
/// only one that runs.
///
/// # Errors
/// Returns an error if there is not one.
pub fn find_running(wanted: Option<&str>) -> Result<RunningContainer, RunnerError> {
    choose(&running_containers(&folders_of_runs()), wanted)
}

fn choose(
    running: &[RunningContainer],
    wanted: Option<&str>,
) -> Result<RunningContainer, RunnerError> {
    let full_name =
        |container: &RunningContainer| format!("{}/{}", container.driver, container.name);
    let is_wanted = |container: &&RunningContainer| {
        wanted.is_none_or(|wanted| container.name == wanted || full_name(container) == wanted)
    };
    let fitting: Vec<&RunningContainer> = running.iter().filter(is_wanted).collect();
    if let [only] = fitting.as_slice() {
        return Ok((*only).clone());
    }
    let names = |containers: &[&RunningContainer]| {
        let names = containers.iter().map(|container| full_name(container));
        names.collect::<Vec<_>>().join(", ")
    };
    let problem = match wanted {
        _ if running.is_empty() => "no container of a test runs here".to_owned(),
        Some(wanted) if fitting.is_empty() => {
            let all: Vec<&RunningContainer> = running.iter().collect();
            format!("no container `{wanted}` runs, but {}", names(&all))
        }
        _ => format!("say which of these containers: {}", names(&fitting)),
    };
    Err(RunnerError::Running(problem))
}

/// Makes the user's terminal that of a new shell in a container, until that ends or Ctrl-] is typed.
///
/// # Errors
/// Returns an error if the container has ended meanwhile, or there is no terminal.
pub async fn shell_in(container: &RunningContainer) -> Result<(), RunnerError> {
    let failed = |error| RunnerError::host("cannot open a shell")(error);
    let (mut helper, guest) = enter(container).map_err(failed)?;
    let talked = async {
        let user = RawTerminal::open()?;
        converse(&user, &guest).await
    };
    let talked = talked.await;
    // Its shell loses its terminal.
    drop(guest);
    let _ = helper.kill();
    let _ = helper.wait();
    talked.map_err(failed)
}

/// Starts the process in the container, and receives the end of its terminal.
fn enter(container: &RunningContainer) -> io::Result<(Child, AsyncFd<File>)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(child::THIS_PROGRAM);
    command
        .arg(ENTER)
        .arg(container.boot.to_string())
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stderr(Stdio::piped());
    child::die_with_parent(&mut command, Signal::SIGKILL);
    let mut helper = command.spawn()?;
    drop(command);
    let terminal = receive_files(&ours).map(|(_, files)| files.into_iter().next());
    let Ok(Some(terminal)) = terminal else {
        let mut message = String::new();
        if let Some(stderr) = &mut helper.stderr {
            stderr.read_to_string(&mut message)?;
        }
        helper.wait()?;
        return Err(io::Error::other(message.trim().to_owned()));
    };
    rustix::io::ioctl_fionbio(&terminal, true)?;
    Ok((helper, register(File::from(terminal))?))
}

/// Passes on what both sides say, until the guest's end is closed or the user leaves.
async fn converse(user: &RawTerminal, guest: &AsyncFd<File>) -> io::Result<()> {
    let mut resized = signal(SignalKind::window_change())?;
    let (mut typed, mut received) = ([0; 1024], [0; 4096]);
    resize(user, guest)?;
    loop {
        tokio::select! {
            length = user.read(&mut typed) => {
                let typed = &typed[..length?];
                if typed.is_empty() || typed.contains(&LEAVE) {
                    return Ok(());
                }
                write(guest, typed).await?;
            }
            length = read(guest, &mut received) => match length {
                // A terminal that no process has open any more fails with EIO.
                Ok(0) | Err(_) => return Ok(()),
                Ok(length) => user.write(&received[..length]).await?,
            },
            _ = resized.recv() => resize(user, guest)?,
        }
    }
}

fn resize(user: &RawTerminal, guest: &AsyncFd<File>) -> io::Result<()> {
    let (rows, columns) = user.size();
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(tcsetwinsize(guest.get_ref(), size)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_named_so_that_there_is_one() {
        let container = |driver, name: &str| RunningContainer {
            name: name.to_owned(),
            driver,
            boot: 1,
        };
        let running = [
            container(7, "client"),
            container(7, "server"),
            container(9, "server"),
        ];
        let chosen = |wanted| choose(&running, wanted);
        let driver = |wanted| chosen(wanted).unwrap().driver;
        assert_eq!((driver(Some("client")), driver(Some("9/server"))), (7, 9));
        assert_eq!(choose(&running[..1], None).unwrap().name, "client");
        let message = |wanted| chosen(wanted).unwrap_err().to_string();
        assert_eq!(
            message(Some("server")),
            "say which of these containers: 7/server, 9/server"
        );
        assert_eq!(
            message(Some("web")),
            "no container `web` runs, but 7/client, 7/server, 9/server"
        );
    }
}
