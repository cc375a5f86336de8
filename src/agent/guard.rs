//! The guard: a program in the guest beside its shell.

use super::line::{GUARD_PORT, REPLIES_PORT};
use super::program::{FIND_PORTS, GUARD};

/// The terminal of the guest's shell: its first virtio console.
const TERMINAL: &str = "/dev/hvc0";

/// Where the shell's errors go: the serial console.
const ERRORS: &str = "/dev/ttyS0";

/// Where the process ID of a shell that the guard starts passes through.
const PID_FILE: &str = "/run/snowglobe-shell";

/// A line for the guest's shell: starts the guard if there is a port for
/// it, and prints the file of the port for replies, or nothing.
pub(super) fn set_up_line() -> String {
    let program = GUARD.text();
    let arguments = [
        REPLIES_PORT,
        GUARD_PORT,
        &program,
        TERMINAL,
        ERRORS,
        PID_FILE,
    ];
    // 20.09's shell prompts for each line of a command that has several.
    format!(
        "PS2=\n{}\n",
        FIND_PORTS.call("find_ports", arguments).text()
    )
}
