//! The plan that the process of a container is started with.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::hierarchy::GroupPaths;
use crate::backend::OnReboot;
use crate::model::manifest::ContainerNode;

/// One machine. Paths are the host's, except for those that say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub name: String,
    pub node: ContainerNode,
    /// For each card of the node, the socket of its network; None leads nowhere.
    pub networks: Vec<Option<PathBuf>>,
    /// The process that keeps the run's namespace.
    pub keeper: u32,
    /// The keeper's folder.
    pub trees: PathBuf,
    /// The name of the node's tree in it.
    pub tree: String,
    /// Where the driver listens for the guest's lines.
    pub folder: PathBuf,
    /// The folder that all guests share.
    pub shared: PathBuf,
    /// The folder that this guest alone has.
    pub exchange: PathBuf,
    /// Memory of the guest, in MiB.
    pub memory_mib: u64,
    pub groups: GroupPaths,
    pub on_reboot: OnReboot,
}
