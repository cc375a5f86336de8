//! A shell or a command in a container that runs, beside what its driver does there.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;
use nix::unistd::{getppid, getuid};

use super::error::{AtStep, ContainerError};
use super::inherited::{leave_session, reset_before_exec};
use super::keyrings::deny_keyrings;
use super::mounts::{become_root, die_with_parent};
use super::terminals::{Pair, Treatment, open_pair};
use crate::child;
use crate::passed_files::send_files;

/// The namespaces of a container, in the order in which they can be entered.
const NAMESPACES: [(&str, CloneFlags); 7] = [
    ("user", CloneFlags::CLONE_NEWUSER),
    ("mnt", CloneFlags::CLONE_NEWNS),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("net", CloneFlags::CLONE_NEWNET),
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ("pid", CloneFlags::CLONE_NEWPID),
];

nix::ioctl_write_int_bad!(make_controlling, libc::TIOCSCTTY);

/// Where the guests have their programs, for the shell that reads the guest's own settings.
const PATH: &str = "/run/current-system/sw/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The exit code of a command that a signal has ended is this and the number of the signal, as in shells.
const SIGNAL_CODE: i32 = 128;

/// Runs a shell on a new terminal in the container whose present boot is the process `boot`, to its end. The
/// other end of the terminal is passed over the socket that the standard input is.
///
/// # Errors
/// Returns an error if the container has ended, or has no shell.
pub fn open_shell(boot: u32) -> Result<(), ContainerError> {
    enter(boot)?;
    let (Pair { ours, guests }, _) = open_pair(Path::new("/dev/pts"), Treatment::Usual)?;
    send_files(io::stdin(), "terminal", &[ours.as_fd()]).at_step("passing the terminal")?;
    drop(ours);
    let shell = start_shell(&guests);
    drop(guests);
    shell
        .and_then(|mut shell| shell.wait())
        .at_step("starting a shell in the container")?;
    Ok(())
}

/// Runs a command in the container whose present boot is the process `boot`, with the standard streams of this
/// process, which must be pipes: the container's processes can open them. A single word is a line for the guest's shell.
/// Returns the exit code.
///
/// # Errors
/// Returns an error if the container has ended, or has no shell.
pub fn run_command(boot: u32, words: &[String]) -> Result<u8, ContainerError> {
    enter(boot)?;
    let mut command = guests_bash();
    match words {
        [line] => command.args(["-c", "--", line]),
        _ => command.args(["-c", "exec \"$@\"", "bash"]).args(words),
    };
    let status = command
        .status()
        .at_step("starting a shell in the container")?;
    let signal = status.signal().map(|number| SIGNAL_CODE + number);
    let code = status.code().or(signal).unwrap_or_default();
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Enters the namespaces of a container.
fn enter(boot: u32) -> Result<(), ContainerError> {
    let parent = getppid();
    let init = init_of(boot).at_step("looking for the container's init")?;
    let open = |(name, kind)| {
        let namespace = File::open(format!("/proc/{init}/ns/{name}"));
        namespace
            .map(|namespace| (namespace, kind))
            .at_step("opening the container's namespaces")
    };
    leave_session()?;
    let is_guests_root = !getuid().is_root();
    let namespaces: Vec<_> = NAMESPACES.into_iter().map(open).collect::<Result<_, _>>()?;
    for (namespace, kind) in namespaces {
        setns(namespace, kind).at_step("entering the container's namespaces")?;
    }
    become_root()?;
    die_with_parent(parent)?;
    if is_guests_root {
        deny_keyrings().at_step("denying keyrings")?;
    }
    Ok(())
}

/// The only child of a boot's process.
fn init_of(boot: u32) -> io::Result<u32> {
    let children = fs::read_to_string(format!("/proc/{boot}/task/{boot}/children"))?;
    let first = children.split_whitespace().next();
    first
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it has ended"))
}

#[allow(unsafe_code)]
fn start_shell(terminal: &OwnedFd) -> io::Result<std::process::Child> {
    let end = || terminal.try_clone().map(Stdio::from);
    let mut command = guests_bash();
    command.stdin(end()?).stdout(end()?).stderr(end()?);
    // SAFETY: between fork and exec it only calls ioctl(2), which allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| {
            make_controlling(libc::STDIN_FILENO, 0)?;
            Ok(())
        });
    }
    command.spawn()
}

/// The guest's shell, as after a login.
fn guests_bash() -> Command {
    let mut command = Command::new("bash");
    command
        .arg("--login")
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", "/root")
        .env("USER", "root")
        .env("PS1", r"\u@\h:\w\$ ")
        .env("TERM", std::env::var_os("TERM").unwrap_or("linux".into()))
        .current_dir("/");
    child::die_with_parent(&mut command, Signal::SIGKILL);
    reset_before_exec(&mut command);
    command
}
