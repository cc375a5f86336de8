//! Child processes: where their programs are, and that they do not outlive this one.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

/// Finds a program on PATH.
#[must_use]
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// Has the kernel send `signal` to the child when the thread that starts it
/// ends, however that comes about. Start it from a thread that lives long.
#[allow(unsafe_code)]
pub fn die_with_parent(command: &mut Command, signal: Signal) {
    // SAFETY: between fork and exec only prctl(2) is called, which allocates
    // nothing and takes no lock.
    unsafe {
        command.pre_exec(move || set_pdeathsig(signal).map_err(std::io::Error::from));
    }
}
