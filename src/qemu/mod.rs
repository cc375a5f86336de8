//! One running QEMU: its process, console, monitor and shell.

mod accelerator;
mod console;
mod health;
mod process;
mod qmp;
mod shell;

pub use accelerator::{Accelerator, AcceleratorChoice};
pub use console::Console;
pub use health::{Alarm, Health, Sickness, Trouble};
pub use process::{Exit, Launch, PATIENCE, Process, ProcessError, on_path};
pub use qmp::{Link, Qmp, QmpError};
pub use shell::{Expect, Outcome, Shell, ShellError, ShellSockets};
