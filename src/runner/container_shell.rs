//! A shell or a command in a container of a test that runs already, in another process.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::error::RunnerError;
use crate::async_file::{read, register, write};
use crate::child;
use crate::container::{ENTER, RunningContainer};
use crate::passed_files::receive_files;
use crate::raw_terminal::{LEAVE, RawTerminal};

/// How long the output of a command that has ended is still waited for: a process that it has left may hold it open.
const QUIET: Duration = Duration::from_millis(100);

/// Makes the user's terminal that of a new shell in a container, until that ends or Ctrl-] is typed.
///
/// # Errors
/// Returns an error if the container has ended meanwhile, or there is no terminal.
pub(super) async fn shell_in(container: &RunningContainer) -> Result<(), RunnerError> {
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

/// Runs a command in a container with the standard streams of this process, and returns its exit code; `None` if the
/// container has ended before. A single word is a line for the guest's shell.
///
/// # Errors
/// Returns an error if the command cannot be started, or its output cannot be passed on.
pub(super) async fn command_in(
    container: &RunningContainer,
    words: &[String],
) -> Result<Option<u8>, RunnerError> {
    let failed = |error| RunnerError::host("cannot run a command in a container")(error);
    run(container, words).await.map_err(failed)
}

/// The guest gets pipes: with a file of the user, or a terminal, it could do more than read or write.
async fn run(container: &RunningContainer, words: &[String]) -> io::Result<Option<u8>> {
    let mut command = helper(container);
    command
        .arg("--")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = tokio::process::Command::from(command).spawn()?;
    let (has_ended, ended) = watch::channel(false);
    let (stdout, stderr) = (tokio::io::stdout(), tokio::io::stderr());
    let output = child
        .stdout
        .take()
        .map(|from| pass_on(from, stdout, ended.clone()));
    let errors = child.stderr.take().map(|from| pass_on(from, stderr, ended));
    let input = child.stdin.take();
    let input = tokio::spawn(async move {
        if let Some(mut to) = input {
            // A command may end before it has read everything.
            let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut to).await;
        }
    });
    let wait = async {
        let status = child.wait().await;
        let _ = has_ended.send(true);
        status
    };
    let passed = async { tokio::try_join!(of_some(output), of_some(errors)) };
    let (status, passed) = tokio::join!(wait, passed);
    input.abort();
    passed?;
    Ok(status?.code().and_then(|code| u8::try_from(code).ok()))
}

async fn of_some(work: Option<impl Future<Output = io::Result<()>>>) -> io::Result<()> {
    match work {
        Some(work) => work.await,
        None => Ok(()),
    }
}

/// Passes on what a command writes, until it and everything that it has started has ended, or until the command has and
/// nothing more comes.
async fn pass_on(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut ended: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut bytes = vec![0; 8192];
    loop {
        let quiet = async {
            // It only fails once the process is waited for.
            let _ = ended.wait_for(|ended| *ended).await;
            tokio::time::sleep(QUIET).await;
        };
        let length = tokio::select! {
            biased;
            length = from.read(&mut bytes) => length?,
            () = quiet => 0,
        };
        if length == 0 {
            return Ok(());
        }
        let written = async {
            to.write_all(&bytes[..length]).await?;
            to.flush().await
        };
        match written.await {
            // The reader has seen enough: the command hears of it when it writes again.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        }
    }
}

fn helper(container: &RunningContainer) -> Command {
    let mut command = Command::new(child::THIS_PROGRAM);
    command.arg(ENTER).arg(container.boot.to_string());
    child::die_with_parent(&mut command, Signal::SIGKILL);
    command
}

/// Starts the process in the container, and receives the end of its terminal.
fn enter(container: &RunningContainer) -> io::Result<(Child, AsyncFd<File>)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = helper(container);
    command
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stderr(Stdio::piped());
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
