//! One running QEMU: its process, console, monitor and shell.

mod accelerator;
mod console;
mod health;
mod process;
mod protocol;
mod qmp;
mod shell;

pub use accelerator::{Accelerator, AcceleratorChoice};
pub use console::Console;
pub use health::{Alarm, Health, Sickness, Trouble};
pub use process::{Exit, Launch, PATIENCE, Process, ProcessError};
pub use protocol::Protocol;
pub use qmp::{Key, Link, Qmp, QmpError};
pub use shell::{
    Expect, GuestSide, NOT_YET, Outcome, Shell, ShellError, ShellSockets, TERMINAL_DEVICE,
    TERMINAL_SOCKET,
};
