//! The guest's side: its root shell, and the programs that run in it.

mod error;
mod guard;
mod line;
mod program;
mod request;
mod shell;
#[cfg(test)]
mod shell_tests;
mod stream;
mod talk;

pub use error::ShellError;
pub use line::{GUARD_PORT, REPLIES_PORT, ShellSockets, TERMINAL_DEVICE, TERMINAL_SOCKET};
pub use program::{
    ATTEMPTS, BACKGROUND, CAPTURE, CLOCK, FAILED_UNITS, GuestProgram, LISTENERS, PAUSE, POLL,
    SHARED_FOLDERS, SYSTEMD_BUS, ShellFile, TERMINAL, UNIT_SIGNALS, UNITS, quote,
};
pub use request::{CommandOutcome, Expect, NOT_YET};
pub use shell::{GuestSide, Shell};
