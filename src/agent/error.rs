//! Why a command of the guest's shell has no result.

use std::io;

use thiserror::Error;

/// Why a command has no result.
#[derive(Debug, Error)]
pub enum ShellError {
    #[error("the guest's shell was closed")]
    Closed,
    #[error("the guest's shell cannot be reached: {0}")]
    Connect(io::Error),
    #[error(
        "the guest's shell answered {0:?}, where {1} was expected: something else writes to its console"
    )]
    Garbage(String, &'static str),
    #[error(
        "the command printed more than {} MiB: have it write to a file, and use copy_from_machine()",
        .0 >> 20
    )]
    TooLong(usize),
    #[error("the command for a terminal is longer than {} KiB: have it in a file", .0 >> 10)]
    LongCommand(usize),
    #[error("the guest has started anew in the middle of the command")]
    Rebooted,
    #[error("the command has killed the guest's shell, which was started anew")]
    Killed,
    #[error(
        "the guest is shutting down, and its shell has ended: for the shell of the next boot, set `connected` to False, or use reboot()"
    )]
    Stopping,
    #[error("the command took longer than it may")]
    Overdue {
        /// The command that kept the guest busy, as far as known; empty otherwise.
        busy: String,
    },
    #[error("the guest's shell is still busy with `{0}`, and there is no other way into the guest")]
    Busy(String),
}
