//! Facts about virtual machines, known before one is made.

use super::accelerator::{AcceleratorChoice, HostAccelerator};
use crate::backend::{Accelerator, BackendNature, HostCost, Unfit, UnfitCause};
use crate::child::on_path;
use crate::model::manifest::Node;

/// Architectures, as Nix and Linux name them, whose QEMU has another name; and Debian's packages of QEMU.
const PROGRAMS: [(&str, &str, &str); 10] = [
    ("x86_64", "qemu-system-x86_64", "qemu-system-x86"),
    ("i686", "qemu-system-x86_64", "qemu-system-x86"),
    ("aarch64", "qemu-system-aarch64", "qemu-system-arm"),
    ("armv7l", "qemu-system-arm", "qemu-system-arm"),
    ("armv6l", "qemu-system-arm", "qemu-system-arm"),
    ("riscv64", "qemu-system-riscv64", "qemu-system-misc"),
    ("powerpc64le", "qemu-system-ppc64", "qemu-system-ppc"),
    ("powerpc64", "qemu-system-ppc64", "qemu-system-ppc"),
    ("s390x", "qemu-system-s390x", "qemu-system-misc"),
    ("loongarch64", "qemu-system-loongarch64", "qemu-system-misc"),
];

fn program_and_package(architecture: &str) -> Option<(&'static str, &'static str)> {
    let known = PROGRAMS.iter().find(|(name, _, _)| *name == architecture);
    known.map(|(_, program, package)| (*program, *package))
}

/// Returns the name of the QEMU that runs guests of an architecture.
#[must_use]
pub fn program_for(architecture: &str) -> String {
    match program_and_package(architecture) {
        Some((program, _)) => program.to_owned(),
        None => format!("qemu-system-{architecture}"),
    }
}

/// Returns Debian's package of the QEMU that runs guests of an architecture.
#[must_use]
pub fn package_of(architecture: &str) -> &'static str {
    program_and_package(architecture).map_or("qemu-system", |(_, package)| package)
}

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
        (!node.snapshot_safe).then_some(
            "folders of the host are mounted over 9p; `--snapshot-safe`, or `snapshot-safe = \"auto\"` in snowglobe.toml, builds machines without (nixpkgs 23.05 or newer)",
        )
    }

    fn check_node(&self, name: &str, node: &Node) -> Result<(), Unfit> {
        if !node.requires_kvm {
            return Ok(());
        }
        let AcceleratorChoice { reason, .. } = HostAccelerator::detect().of(node);
        reason.map_or(Ok(()), |reason| {
            Err(Unfit {
                message: format!(
                    "machine {name} may not be emulated (`virtualisation.qemu.forceAccel`), and would be here: {reason}; \
                     run it on a host with KVM, or leave the option out"
                ),
                cause: UnfitCause::Host,
            })
        })
    }

    fn check_host(&self, nodes: &[&Node]) -> Result<(), Unfit> {
        let needed = nodes.iter().filter(|node| node.guest.needs_host_qemu());
        let mut architectures = needed.map(|node| node.architecture());
        let is_missing = |architecture: &&str| on_path(&program_for(architecture)).is_none();
        let Some(missing) = architectures.find(is_missing) else {
            return Ok(());
        };
        let (program, package) = (program_for(missing), package_of(missing));
        Err(Unfit {
            message: format!(
                "QEMU is not installed: `{program}` is not on PATH (Debian's package is {package})"
            ),
            cause: UnfitCause::Host,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::manifest::Guest;

    #[test]
    fn programs_and_packages_have_names_of_their_own() {
        assert_eq!(program_for("i686"), "qemu-system-x86_64");
        assert_eq!(program_for("aarch64"), "qemu-system-aarch64");
        assert_eq!(package_of("aarch64"), "qemu-system-arm");
        assert_eq!(program_for("m68k"), "qemu-system-m68k");
    }

    #[test]
    fn an_architecture_without_qemu_is_named() {
        let node = |guest| Node {
            system: "nonesuch-linux".to_owned(),
            guest,
            ..Node::of_script("/x".into())
        };
        let error = QemuNature.check_host(&[&node(Guest::Tiny)]).unwrap_err();
        assert_eq!(
            error.message,
            "QEMU is not installed: `qemu-system-nonesuch` is not on PATH (Debian's package is qemu-system)"
        );
        // The run script of a NixOS names its own.
        assert_eq!(QemuNature.check_host(&[&node(Guest::Nixos)]), Ok(()));
    }
}
