//! Facts about virtual machines, known before one is made.

use crate::backend::{Accelerator, BackendNature, HostCost, Unfit, UnfitCause};
use crate::child::on_path;
use crate::model::manifest::Node;

/// Name of the program that runs the built-in guests.
pub const QEMU: &str = "qemu-system-x86_64";

/// Memory of QEMU beside that of the guest, in MiB: `benches/suite.py` measures it.
const QEMU_MIB: u64 = 120;

/// Part of a virtual processor that a machine under KVM keeps busy. An emulated machine takes what it has.
const CORES_OF_KVM: f64 = 0.5;

/// Virtual machines.
#[derive(Debug, Clone, Copy)]
pub struct QemuNature;

impl BackendNature for QemuNature {
    fn cost(&self, node: &Node, accelerator: Accelerator) -> HostCost {
        #[allow(clippy::cast_precision_loss)]
        let cores = node.cores.unwrap_or(1) as f64;
        HostCost {
            memory_mib: node.memory_or_default_mib().saturating_add(QEMU_MIB),
            cores: match accelerator {
                Accelerator::Kvm => cores * CORES_OF_KVM,
                Accelerator::Tcg => cores,
            },
        }
    }

    fn obstacle_to_saving(&self, node: &Node) -> Option<&'static str> {
        (!node.snapshot_safe).then_some("folders of the host are mounted over 9p")
    }

    fn check_node(&self, _: &str, _: &Node) -> Result<(), Unfit> {
        Ok(())
    }

    fn check_host(&self, nodes: &[&Node]) -> Result<(), Unfit> {
        let is_needed = nodes.iter().any(|node| node.guest.needs_host_qemu());
        if !is_needed || on_path(QEMU).is_some() {
            return Ok(());
        }
        Err(Unfit {
            message: format!(
                "QEMU is not installed: `{QEMU}` is not on PATH (Debian's package is qemu-system-x86)"
            ),
            cause: UnfitCause::Host,
        })
    }
}
