//! Machines as containers: plain namespaces of the kernel, always in a user namespace of their own.
//!
//! This program starts the *keeper* of a run, which holds its user namespace and one copy of each tree, and for each
//! machine a process that stands where QEMU stands for a virtual machine. That starts a process for each boot, which
//! makes the namespaces, and whose child is the guest's init. Each is killed with the one that has started it.

mod boot;
mod boot_process;
mod cards;
mod cgroup;
mod driver_side;
mod enter;
mod error;
mod guest_process;
mod hierarchy;
mod identity;
mod inherited;
mod keeper;
mod keyrings;
mod limits;
mod machine;
mod machine_backend;
mod mounts;
mod nature;
mod plan;
mod requirements;
mod root;
mod run_namespace;
mod running;
mod tap;
mod terminals;
mod veth;

pub use cgroup::Cgroup;
pub use error::ContainerError;
pub use machine_backend::{ContainerBackend, ContainerSettings};
pub use nature::ContainerNature;
pub use requirements::{Requirement, RequirementKind, has_user_namespaces, missing, missing_taps};
pub use run_namespace::RunNamespace;
pub use running::{RunningContainer, running_containers};

/// The hidden subcommands that the processes of containers are.
pub const KEEPER: &str = "container-keeper";
pub const MACHINE: &str = "container-machine";
pub const BOOT: &str = "container-boot";
pub const ENTER: &str = "container-enter";

pub use boot_process::{BootEnd, boot_machine};
pub use enter::{open_shell, run_command};
pub use keeper::keep_namespace;
pub use machine::run_machine;
