//! The backends: what is true of each, and the making of machines with them.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::backend::{Backend, BackendNature, MachineFolders};
use crate::container::{ContainerBackend, ContainerNature, ContainerSettings};
use crate::model::manifest::{BackendKind, Node};
use crate::network::Network;
use crate::qemu::{QemuBackend, QemuNature, QemuSettings};

/// Returns what is true of machines of a kind.
#[must_use]
pub fn nature(kind: BackendKind) -> &'static dyn BackendNature {
    match kind {
        BackendKind::Vm => &QemuNature,
        BackendKind::Container => &ContainerNature,
    }
}

/// Settings that the machines of a run share, by backend.
#[derive(Debug, Clone)]
pub struct Backends {
    pub qemu: QemuSettings,
    pub containers: ContainerSettings,
    pub networks: Arc<[Network]>,
}

impl Backends {
    /// Makes the backend of a node; `None` if the node was not built for its kind, or the kind is not decided.
    ///
    /// # Errors
    /// Returns an error if a socket for the machine's network cards cannot be made.
    pub fn of_node(
        &self,
        name: &str,
        node: &Node,
        folders: MachineFolders,
    ) -> io::Result<Option<Box<dyn Backend>>> {
        match node.kind() {
            Some(BackendKind::Vm) => {
                let Some(start_script) = node.start_script.clone() else {
                    return Ok(None);
                };
                let is_on = |network: &Network| node.vlans.contains(&network.number());
                Ok(Some(self.vm(name, start_script, node, folders, is_on)?))
            }
            Some(BackendKind::Container) => Ok(node.container.clone().map(|container| {
                let (memory_mib, settings) =
                    (node.memory_or_default_mib(), self.containers.clone());
                let backend = ContainerBackend::new(name, container, memory_mib, folders, settings);
                Box::new(backend) as Box<dyn Backend>
            })),
            None => Ok(None),
        }
    }

    /// Makes the backend of a machine that a script makes from a command; it may be on any network.
    ///
    /// # Errors
    /// Returns an error if a socket for the machine's network cards cannot be made.
    pub fn of_command(
        &self,
        name: &str,
        start_script: PathBuf,
        node: &Node,
        folders: MachineFolders,
    ) -> io::Result<Box<dyn Backend>> {
        self.vm(name, start_script, node, folders, |_| true)
    }

    fn vm(
        &self,
        name: &str,
        start_script: PathBuf,
        node: &Node,
        folders: MachineFolders,
        is_on: impl Fn(&Network) -> bool,
    ) -> io::Result<Box<dyn Backend>> {
        let environment = self.network_environment(name, is_on)?;
        let settings = self.qemu.clone();
        let backend = QemuBackend::new(start_script, node, folders, settings, environment);
        Ok(Box::new(backend))
    }

    /// Returns the variables by which a run script finds the networks.
    fn network_environment(
        &self,
        name: &str,
        is_on: impl Fn(&Network) -> bool,
    ) -> io::Result<Vec<(OsString, OsString)>> {
        let mut variables = Vec::new();
        for network in self.networks.iter() {
            let entrance = if is_on(network) {
                network.entrance(name)?
            } else {
                network.entrance_of_others()
            };
            let number = network.number();
            variables.extend([
                (
                    format!("QEMU_VDE_SOCKET_{number}").into(),
                    entrance.vde_folder().into(),
                ),
                (
                    format!("SNOWGLOBE_STREAM_SOCKET_{number}").into(),
                    entrance.stream_socket().into(),
                ),
            ]);
        }
        Ok(variables)
    }
}
