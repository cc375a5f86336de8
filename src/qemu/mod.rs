//! QEMU: how a machine is started, and its monitor.

mod accelerator;
mod launch;
mod nature;
mod protocol;
mod qmp;

pub use crate::backend::Accelerator;
pub use accelerator::AcceleratorChoice;
pub use launch::{QemuBackend, QemuSettings, SCRIPTS_MONITOR};
pub use nature::{QEMU, QemuNature};
pub use protocol::Protocol;
pub use qmp::{Key, Qmp, QmpError};
