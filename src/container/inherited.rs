//! State that a process inherits from its parent: a guest's init has that of a kernel's first process instead.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::signal::SigSet;
use nix::sys::stat::{Mode, umask};
use nix::unistd::setsid;
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

use super::error::{AtStep, ContainerError};
use super::keyrings::join_new_keyring;

/// Capabilities that would let a guest change the host, or another guest, in spite of its namespaces.
const DROPPED: [CapabilitySet; 5] = [
    CapabilitySet::SYS_TIME,
    CapabilitySet::SYS_MODULE,
    CapabilitySet::SYS_RAWIO,
    CapabilitySet::SYSLOG,
    CapabilitySet::MKNOD,
];

const KIB: rlim_t = 1 << 10;
const MIB: rlim_t = 1 << 20;

/// Soft and hard limits of a kernel's first process (include/asm-generic/resource.h), with systemd's for open files and
/// locked memory. Those that depend on the host's memory are missing. A hard limit of the host that is lower stays.
const LIMITS: [(Resource, rlim_t, rlim_t); 13] = [
    (Resource::RLIMIT_CPU, RLIM_INFINITY, RLIM_INFINITY),
    (Resource::RLIMIT_FSIZE, RLIM_INFINITY, RLIM_INFINITY),
    (Resource::RLIMIT_DATA, RLIM_INFINITY, RLIM_INFINITY),
    (Resource::RLIMIT_STACK, 8 * MIB, RLIM_INFINITY),
    (Resource::RLIMIT_CORE, 0, RLIM_INFINITY),
    (Resource::RLIMIT_RSS, RLIM_INFINITY, RLIM_INFINITY),
    (Resource::RLIMIT_NOFILE, KIB, 512 * KIB),
    (Resource::RLIMIT_MEMLOCK, 8 * MIB, 8 * MIB),
    (Resource::RLIMIT_AS, RLIM_INFINITY, RLIM_INFINITY),
    (Resource::RLIMIT_LOCKS, RLIM_INFINITY, RLIM_INFINITY),
    (Resource::RLIMIT_MSGQUEUE, 800 * KIB, 800 * KIB),
    (Resource::RLIMIT_NICE, 0, 0),
    (Resource::RLIMIT_RTPRIO, 0, 0),
];

/// Nanoseconds by which the kernel may delay the timers of a process, unless it is changed.
const TIMER_SLACK_NS: libc::c_ulong = 50_000;

/// Gives up what this process has of its user's session, and what it has better than other processes. The user's wish
/// to be nicer than others stays: no process could take it back.
///
/// Must be called before the process enters a user namespace.
///
/// # Errors
/// Returns the kernel's reason if there can be no new keyring.
pub(super) fn leave_session() -> Result<(), ContainerError> {
    join_new_keyring().at_step("joining a new session keyring")?;
    give_up_priority().at_step("giving up the priority of the process")?;
    // Refused only if the host has made this process a likelier victim than others, which stays.
    if fs::read_to_string("/proc/self/oom_score_adj").is_ok_and(|text| text.starts_with('-')) {
        fs::write("/proc/self/oom_score_adj", "0").at_step("resetting oom_score_adj")?;
    }
    Ok(())
}

#[allow(unsafe_code)]
fn give_up_priority() -> io::Result<()> {
    // SAFETY: the calls read numbers, and `parameters` while it lives.
    unsafe {
        let policy = libc::sched_getscheduler(0);
        if !matches!(
            policy,
            libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE
        ) {
            let parameters: libc::sched_param = std::mem::zeroed();
            if libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const parameters) == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        if libc::getpriority(libc::PRIO_PROCESS, 0) < 0
            && libc::setpriority(libc::PRIO_PROCESS, 0, 0) == -1
        {
            return Err(io::Error::last_os_error());
        }
        if libc::prctl(libc::PR_SET_TIMERSLACK, TIMER_SLACK_NS) == -1 {
            return Err(io::Error::last_os_error());
        }
        // PER_LINUX, whatever `setarch` has set.
        if libc::personality(0) == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Makes this process one that inherits nothing but its namespaces, its user and its standard streams.
///
/// # Errors
/// Returns the kernel's reason if something cannot be reset.
pub(super) fn reset_process() -> Result<(), ContainerError> {
    // Without a session of its own it would have the user's terminal at /dev/tty.
    match setsid() {
        // It leads one already.
        Ok(_) | Err(nix::errno::Errno::EPERM) => {}
        Err(error) => return Err(error).at_step("making a session"),
    }
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    for (resource, soft, hard) in LIMITS {
        let (_, highest) = getrlimit(resource).at_step("reading limits")?;
        let hard = hard.min(highest);
        setrlimit(resource, soft.min(hard), hard).at_step("setting limits")?;
    }
    for capability in DROPPED {
        remove_capability_from_bounding_set(capability).at_step("dropping a capability")?;
    }
    take_signals_as_usual().at_step("resetting signals")?;
    close_with_exec().at_step("closing files")
}

/// Resets all signals, also those that the C library keeps to itself and does not reset: a process may have inherited
/// that they are ignored.
#[allow(unsafe_code)]
fn take_signals_as_usual() -> io::Result<()> {
    const LAST_SIGNAL: libc::c_int = 64;
    const MASK_BYTES: usize = 8;
    // The kernel's own structure, which has at most so many bytes: all zero is SIG_DFL.
    let usual = [0_u64; 8];
    for signal in 1..=LAST_SIGNAL {
        if matches!(signal, libc::SIGKILL | libc::SIGSTOP) {
            continue;
        }
        let no_old = std::ptr::null_mut::<u64>();
        // SAFETY: the kernel reads `usual`. No handler of this program is needed any more: it runs another one next.
        let set = unsafe {
            let usual = usual.as_ptr();
            libc::syscall(libc::SYS_rt_sigaction, signal, usual, no_old, MASK_BYTES)
        };
        if set == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    SigSet::empty().thread_set_mask()?;
    Ok(())
}

#[allow(unsafe_code)]
fn close_with_exec() -> io::Result<()> {
    let (first, last) = (libc::STDERR_FILENO.cast_unsigned() + 1, libc::c_uint::MAX);
    // SAFETY: no file is closed before exec(2), after which nothing of this program is there to use one.
    let marked = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            last,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if marked == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Has a command reset its process as [`reset_process`] does.
#[allow(unsafe_code)]
pub(super) fn reset_before_exec(command: &mut Command) {
    let reset = || reset_process().map_err(io::Error::other);
    // SAFETY: the caller has one thread, so no lock is held that an allocation could need.
    unsafe { command.pre_exec(reset) };
}
