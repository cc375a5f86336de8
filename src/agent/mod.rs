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
mod terminal_text;

pub use error::ShellError;
pub use guard::TerminalGuard;
pub use line::{GUARD_PORT, REPLIES_PORT, ShellSockets, TERMINAL_DEVICE, TERMINAL_SOCKET};
pub use program::{
    ATTEMPTS, BACKGROUND, CAPTURE, CLOCK, FAILED_UNITS, FAULTS, GuestProgram, LISTENERS, PAUSE,
    POLL, SHARED_FOLDERS, SYSTEMD_BUS, ShellFile, UNIT_SIGNALS, UNITS, quote,
};
pub use request::{CommandOutcome, Expect, NOT_YET};
pub use shell::{GuestSide, Shell};
pub use terminal_text::{TerminalText, TextPart};
