//! The first process of a guest, in namespaces that belong to a user namespace of its own.
//!
//! The process that boots the guest stays in the run's user namespace and mounts the root there. The guest's init has a
//! copy of these mounts in a user namespace below: the kernel locks them for its root (`mount_namespaces(7)`), who can
//! neither remount nor unmount them.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::libc;
use nix::sched::{CloneFlags, clone, setns};
use nix::sys::prctl::{set_dumpable, set_pdeathsig};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::error::{AtStep, ContainerError};

/// The stack of a process from its start until it executes a program.
const STACK_BYTES: usize = 4 << 20;

/// The guest's first process, which waits until its root is complete. Killed when it is dropped.
#[derive(Debug)]
pub(super) struct GuestProcess {
    id: Pid,
    /// `None` after its release.
    gate: Option<UnixStream>,
}

impl GuestProcess {
    /// Starts the process. It runs `become_init` when [`GuestProcess::release`] is called, and ends if that returns.
    ///
    /// # Errors
    /// Returns the kernel's reason if there are no more namespaces.
    pub fn start(
        become_init: impl Fn() -> Result<(), ContainerError>,
    ) -> Result<Self, ContainerError> {
        let what = "starting the guest's first process";
        let (gate, guests_gate) = UnixStream::pair().at_step(what)?;
        let gate = RefCell::new(Some(gate));
        // Otherwise its user map would belong to root of the host, as this process has changed its user.
        set_dumpable(true).at_step(what)?;
        let kinds = CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWCGROUP;
        let id = start_process(kinds, || {
            set_pdeathsig(Signal::SIGKILL).at_step(what)?;
            // Its copy of the other end: without it, this process sees if the one that boots it has ended.
            drop(gate.take());
            (&guests_gate).read_exact(&mut [0]).at_step(what)?;
            become_init()
        })?;
        let process = Self {
            id,
            gate: gate.take(),
        };
        for name in ["uid_map", "gid_map"] {
            let own = fs::read_to_string(format!("/proc/self/{name}")).at_step(what)?;
            let file = format!("/proc/{id}/{name}");
            fs::write(&file, same_ids(&own)).at_step(format!("writing {file}"))?;
        }
        Ok(process)
    }

    /// Opens one of its namespaces, by its name in `/proc/PID/ns`.
    ///
    /// # Errors
    /// Returns the kernel's reason if it has ended.
    pub fn namespace(&self, name: &str) -> Result<File, ContainerError> {
        let file = PathBuf::from(format!("/proc/{}/ns/{name}", self.id));
        File::open(&file).at_step(format!("opening {}", file.display()))
    }

    /// Lets it become the guest's init.
    ///
    /// # Errors
    /// Returns an error if it has ended.
    pub fn release(&mut self) -> Result<(), ContainerError> {
        let Some(mut gate) = self.gate.take() else {
            return Ok(());
        };
        let released = gate.write_all(&[1]);
        released.at_step("releasing the guest's first process")
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Returns the kernel's reason if it cannot be waited for.
    pub fn wait(&self) -> Result<WaitStatus, ContainerError> {
        wait(self.id).at_step("waiting for init")
    }
}

impl Drop for GuestProcess {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(self.id, Signal::SIGKILL);
    }
}

/// The map of a namespace that has the IDs of the one above it, whose map is `map`: lines `FIRST FIRST-OUTSIDE COUNT`. A
/// line of a map cannot span two of the map above.
fn same_ids(map: &str) -> String {
    map.lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace();
            let (first, _, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
            Some(format!("{first} {first} {count}\n"))
        })
        .collect()
}

/// Runs `body` in a process namespace, in a process of its own: one that enters it stays outside, and only its children
/// are inside.
///
/// # Errors
/// Returns an error if `body` does; its reason is on standard error.
pub(super) fn run_inside(
    processes: &File,
    body: impl Fn() -> Result<(), ContainerError>,
) -> Result<(), ContainerError> {
    let none = CloneFlags::empty();
    let outside = start_process(none, || {
        setns(processes, CloneFlags::CLONE_NEWPID).at_step("entering the guest's processes")?;
        finish(start_process(none, &body)?)
    })?;
    finish(outside)
}

/// Waits for a process that must end well.
fn finish(process: Pid) -> Result<(), ContainerError> {
    let what = "preparing the guest";
    match wait(process).at_step(what)? {
        WaitStatus::Exited(_, 0) => Ok(()),
        status => Err(io::Error::other(describe(status))).at_step(what),
    }
}

fn wait(process: Pid) -> nix::Result<WaitStatus> {
    loop {
        match waitpid(process, None) {
            Err(nix::errno::Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// Describes the end of a process as [`std::process::ExitStatus`] does.
pub(super) fn describe(status: WaitStatus) -> String {
    match status {
        WaitStatus::Exited(_, code) => format!("exit status: {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("signal: {} ({signal})", signal as i32),
        other => format!("{other:?}"),
    }
}

/// Starts a process that runs `body`, in new namespaces of some kinds. Its reason for an error is on standard error.
#[allow(unsafe_code)]
fn start_process(
    kinds: CloneFlags,
    body: impl Fn() -> Result<(), ContainerError>,
) -> Result<Pid, ContainerError> {
    let run = || match body() {
        Ok(()) => 0,
        Err(error) => {
            // No one can read it if that fails.
            let _ = writeln!(io::stderr(), "{error}");
            1
        }
    };
    let mut stack = vec![0; STACK_BYTES];
    // SAFETY: without CLONE_VM it is fork(2): the process has a copy of all memory. This one has no other thread that
    // could hold a lock.
    let started = unsafe { clone(Box::new(run), &mut stack, kinds, Some(libc::SIGCHLD)) };
    started.at_step("starting a process in new namespaces")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_keep_their_parts() {
        let map = "         0       1001          1\n         1     100000      65535\n";
        assert_eq!(same_ids(map), "0 0 1\n1 1 65535\n");
    }
}
