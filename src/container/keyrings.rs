//! The kernel's keyrings, which no namespace separates: keys belong to users of the host.

use std::io;

use nix::libc;

/// From linux/keyctl.h, which `libc` does not have.
const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;

/// Joins a session keyring that is new and empty.
///
/// # Errors
/// Returns the kernel's reason if there can be none. A kernel without keyrings is no error.
#[allow(unsafe_code)]
pub(super) fn join_new_keyring() -> io::Result<()> {
    let no_name = std::ptr::null::<libc::c_char>();
    // SAFETY: this operation takes one pointer, to a name or null.
    let keyring = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, no_name) };
    if keyring != -1 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // A kernel without keyrings, or a filter around this process that keeps it from them.
        error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => Ok(()),
        error => Err(error),
    }
}

/// The numbers of `add_key(2)`, `request_key(2)` and `keyctl(2)` for one kind of programs (`AUDIT_ARCH_*` of linux/audit.h).
struct KeyCalls {
    arch: u32,
    first: u32,
}

/// Bit of the numbers of system calls of x32 programs.
const X32: u32 = 0x4000_0000;

/// The kinds of programs that a host of this architecture runs.
#[cfg(target_arch = "x86_64")]
const KEY_CALLS: [KeyCalls; 3] = [
    KeyCalls {
        arch: 0xC000_003E,
        first: 248,
    },
    KeyCalls {
        arch: 0xC000_003E,
        first: 248 + X32,
    },
    KeyCalls {
        arch: 0x4000_0003,
        first: 286,
    },
];
#[cfg(not(target_arch = "x86_64"))]
const KEY_CALLS: [KeyCalls; 2] = [
    KeyCalls {
        arch: 0xC000_00B7,
        first: 217,
    },
    KeyCalls {
        arch: 0x4000_0028,
        first: 309,
    },
];

/// Where `struct seccomp_data` has the number and the kind of a call.
const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;

/// How many calls follow each other from the first one.
const COUNT: u32 = 3;

/// Denies all calls about keyrings to this process and all that it starts, as a kernel without keyrings does: a guest
/// whose root is a user of the host would reach that user's keys by their numbers.
///
/// # Errors
/// Returns the kernel's reason. The process needs `CAP_SYS_ADMIN` in its user namespace.
#[allow(unsafe_code)]
pub(super) fn deny_keyrings() -> io::Result<()> {
    let mut filter = filter();
    let program = libc::sock_fprog {
        len: filter.len().try_into().map_err(io::Error::other)?,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the program, which lives until it returns.
    let set = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    if set == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn filter() -> Vec<libc::sock_filter> {
    let mut filter = Vec::new();
    for KeyCalls { arch, first } in KEY_CALLS {
        filter.extend([
            load(ARCH_AT),
            // Past this kind, if the program is of another one.
            jump(libc::BPF_JEQ, arch, 0, 4),
            load(NUMBER_AT),
            jump(libc::BPF_JGE, first, 0, 2),
            jump(libc::BPF_JGE, first + COUNT, 1, 0),
            give(libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned()),
        ]);
    }
    filter.push(give(libc::SECCOMP_RET_ALLOW));
    filter
}

fn statement(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    // The codes of the classic machine have 16 bits.
    let code = u16::try_from(code).unwrap_or_default();
    libc::sock_filter { code, jt, jf, k }
}

fn load(at: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at, 0, 0)
}

fn jump(condition: u32, value: u32, then: u8, otherwise: u8) -> libc::sock_filter {
    statement(
        libc::BPF_JMP | condition | libc::BPF_K,
        value,
        then,
        otherwise,
    )
}

fn give(value: u32) -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, value, 0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter on a call as the kernel does, and returns its verdict.
    fn verdict(arch: u32, number: u32) -> u32 {
        let filter = filter();
        let (mut at, mut value) = (0, 0);
        loop {
            let libc::sock_filter { code, jt, jf, k } = filter[at];
            let code = u32::from(code);
            at += 1;
            let jump = |holds: bool| usize::from(if holds { jt } else { jf });
            match code & 0x07 {
                libc::BPF_LD => value = if k == ARCH_AT { arch } else { number },
                libc::BPF_RET => return k,
                _ if code & 0xf0 == libc::BPF_JEQ => at += jump(value == k),
                _ => at += jump(value >= k),
            }
        }
    }

    #[test]
    fn calls_about_keys_are_denied_and_no_others() {
        let denied = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
        for KeyCalls { arch, first } in KEY_CALLS {
            for number in first..first + COUNT {
                assert_eq!(verdict(arch, number), denied, "{arch:x} {number}");
            }
            for number in [0, first - 1, first + COUNT, u32::MAX] {
                assert_eq!(
                    verdict(arch, number),
                    libc::SECCOMP_RET_ALLOW,
                    "{arch:x} {number}"
                );
            }
        }
        assert_eq!(verdict(0, 248), libc::SECCOMP_RET_ALLOW);
    }
}
