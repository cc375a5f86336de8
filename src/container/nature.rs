//! Facts about containers, known before one is made.

use super::{Cgroup, missing};
use crate::backend::{Accelerator, BackendNature, HostCost, Unfit, UnfitCause};
use crate::model::manifest::Node;

/// Memory of Snowglobe's own processes for a container, beside the guest's, in MiB.
const CONTAINER_MIB: u64 = 64;

/// Containers.
#[derive(Debug, Clone, Copy)]
pub struct ContainerNature;

impl ContainerNature {
    /// Processors that a container keeps busy on average.
    pub const CORES: f64 = 0.25;
}

impl BackendNature for ContainerNature {
    fn cost(&self, node: &Node, _: Accelerator) -> HostCost {
        let memory_mib = node.memory_or_default_mib();
        let container = node.container.as_ref();
        let granted = container.map_or(memory_mib, |container| container.granted_mib(memory_mib));
        HostCost {
            memory_mib: granted.saturating_add(CONTAINER_MIB),
            cores: Self::CORES,
        }
    }

    fn obstacle_to_saving(&self, _: &Node) -> Option<&'static str> {
        Some("containers")
    }

    fn check_node(&self, name: &str, node: &Node) -> Result<(), Unfit> {
        let refuse = |reason: &str| Unfit {
            message: format!(
                "the machine `{name}` cannot be a container: {reason}; run it as a virtual machine (`--backend vm`)"
            ),
            cause: UnfitCause::Test,
        };
        if node.container.is_none() {
            return Err(refuse(
                "only machines of the built-in guests, and of nixpkgs 23.05 or newer, can be containers",
            ));
        }
        if let Some(option) = node.container_obstacles.iter().flatten().next() {
            return Err(refuse(&format!("a container cannot do `{option}`")));
        }
        Ok(())
    }

    fn check_host(&self, _: &[&Node]) -> Result<(), Unfit> {
        let Some(lack) = missing().into_iter().next() else {
            return Ok(());
        };
        Err(Unfit {
            message: format!(
                "machines cannot be containers on this host: it lacks {} ({}): {}, or run virtual machines (`--backend vm`)",
                lack.name, lack.found, lack.remedy
            ),
            cause: UnfitCause::Host,
        })
    }

    fn missing_limits(&self) -> Option<String> {
        let unlimited = Cgroup::unlimited().ok().filter(|list| !list.is_empty())?;
        Some(format!(
            "the {} of containers not limited: no control group of this user does it",
            unlimited.join(" and ")
        ))
    }
}
