//! Facts about each kind of machine, known before a machine is made.

use thiserror::Error;

use super::Accelerator;
use crate::model::manifest::Node;

/// One kind of machine: its costs, its limits, and what it needs of the host.
pub trait BackendNature {
    /// Returns what a machine takes of the host, on which virtual machines run in this way.
    fn cost(&self, node: &Node, accelerator: Accelerator) -> HostCost;

    /// Returns why a machine cannot be saved in a checkpoint, after "cannot be saved: "; `None` if it can.
    fn obstacle_to_saving(&self, node: &Node) -> Option<&'static str>;

    /// Checks that a node can be a machine of this kind.
    ///
    /// # Errors
    /// Returns an error that names the machine, and the remedy.
    fn check_node(&self, name: &str, node: &Node) -> Result<(), Unfit>;

    /// Checks that the host has what machines of this kind need.
    ///
    /// # Errors
    /// Returns an error that names what the host lacks, and the remedy.
    fn check_host(&self, nodes: &[&Node]) -> Result<(), Unfit>;

    /// Returns the resources that this host does not limit, for the first line of a run; `None` if it limits all.
    fn missing_limits(&self) -> Option<String> {
        None
    }
}

/// Resources of the host that a machine takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HostCost {
    pub memory_mib: u64,
    /// Processors that the machine keeps busy on average.
    pub cores: f64,
}

/// The reason why a machine cannot run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Unfit {
    pub message: String,
    pub cause: UnfitCause,
}

/// The part to change if a machine cannot run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnfitCause {
    Test,
    Host,
}
