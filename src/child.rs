//! Child processes: where their programs are, and that they do not outlive this one.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{Pid, getppid};

/// This program, to be started again: also when its file has been replaced by a newer one since.
pub const THIS_PROGRAM: &str = "/proc/self/exe";

/// Finds a program on PATH.
#[must_use]
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// Installs a handler that does nothing but end a system call: no `SA_RESTART`. A program that is executed has the
/// default action again, which it would not have if the signal were ignored.
#[allow(unsafe_code)]
pub fn catch_signal(signal: Signal) {
    extern "C" fn nothing(_: nix::libc::c_int) {}
    let handler = SigHandler::Handler(nothing);
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing.
    let _ = unsafe { sigaction(signal, &action) };
}

/// Describes how a process has ended, after "has ended": with the reason of the host, if its signal says one.
#[must_use]
pub fn describe_end(status: ExitStatus) -> String {
    let Some(number) = status.signal() else {
        return format!("with the exit code {}", status.code().unwrap_or_default());
    };
    let Ok(signal) = Signal::try_from(number) else {
        return format!("by signal {number}");
    };
    let reason = match signal {
        Signal::SIGXFSZ => " (the host limits the size of files: `ulimit -f`)",
        Signal::SIGXCPU => " (the host limits the time of processors: `ulimit -t`)",
        _ => "",
    };
    format!("by {signal}{reason}")
}

/// Whether a process runs: one that has ended and is still to be waited for does not.
#[must_use]
pub fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name of the program, in parentheses, may hold any character.
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// Has the kernel send `signal` to the child when the thread that starts it
/// ends, however that comes about. Start it from a thread that lives long.
#[allow(unsafe_code)]
pub fn die_with_parent(command: &mut Command, signal: Signal) {
    let parent = Pid::this();
    let ask = move || {
        set_pdeathsig(signal)?;
        // It may have ended before the kernel was asked. From inside a new PID namespace it has no number.
        let now = getppid();
        if now == parent || now == Pid::from_raw(0) {
            Ok(())
        } else {
            Err(std::io::Error::from(Errno::ESRCH))
        }
    };
    // SAFETY: between fork and exec only prctl(2) and getppid(2) are called,
    // which allocate nothing and take no lock.
    unsafe {
        command.pre_exec(ask);
    }
}
