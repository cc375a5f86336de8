//! QEMU: how a machine is started, and its monitor.

mod accelerator;
mod kvm;
mod launch;
mod nature;
mod protocol;
mod qmp;
mod vsock;

pub use crate::backend::Accelerator;
pub use accelerator::{AcceleratorChoice, CLOSED, HostAccelerator};
pub use launch::{QemuBackend, QemuSettings, SCRIPTS_MONITOR};
pub use nature::{QemuNature, package_of, program_for};
pub use protocol::Protocol;
pub use qmp::{Key, Qmp, QmpError};
pub use vsock::SSH_SOCKET;
