//! One running QEMU: its process, console, monitor and shell.
//!
//! May import `agent` and what is below it.

mod accelerator;
mod console;
mod failure_watch;
mod process;
mod protocol;
mod qmp;

pub use accelerator::{Accelerator, AcceleratorChoice};
pub use console::Console;
pub use failure_watch::{FailureWatch, FaultReporter, MachineFailure, MachineFault};
pub use process::{Exit, Launch, PATIENCE, Process, ProcessError};
pub use protocol::Protocol;
pub use qmp::{Key, Link, Qmp, QmpError};
