//! What runs in the guest beside its shell.

use super::line::{GUARD_PORT, REPLIES_PORT};
use super::program::{FIND_PORTS, GUARD};

/// A line for the guest's shell: starts the guard if there is a port for
/// it, and prints the file of the port for replies, or nothing.
pub(super) fn set_up_line() -> String {
    let arguments = [REPLIES_PORT, GUARD_PORT, &GUARD.text()];
    FIND_PORTS.call("find_ports", arguments).text() + "\n"
}
