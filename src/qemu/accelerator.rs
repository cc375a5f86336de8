//! Whether the host's processor can run guests by itself.
//!
//! A `/dev/kvm` that makes machines proves nothing on x86: there are hosts that offer it on processors without
//! virtualisation, where guests stop half-way. On other architectures the kernel offers it only where it works.

use std::fmt;
use std::fs;
use std::path::Path;

use super::kvm::{self, KvmAnswer};
use crate::backend::Accelerator;
use crate::model::manifest::Node;

/// Why there is no KVM for a user who may not open its device.
pub const CLOSED: &str = "/dev/kvm cannot be opened";

/// The accelerator of a machine, and why it is not the fast one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceleratorChoice {
    pub accelerator: Accelerator,
    pub reason: Option<String>,
}

impl fmt::Display for AcceleratorChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let accelerator = self.accelerator;
        match &self.reason {
            None => write!(formatter, "{accelerator}"),
            Some(reason) => write!(formatter, "{accelerator} emulation: {reason}"),
        }
    }
}

/// The accelerator of a host's virtual machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAccelerator {
    /// The architecture, as Nix and Linux name it.
    architecture: &'static str,
    /// Why the processor runs no guests; None if it does.
    obstacle: Option<&'static str>,
}

/// The facts that speak for KVM on a host.
struct HostSupport<'a> {
    architecture: &'static str,
    /// The text of /proc/cpuinfo.
    processor: &'a str,
    has_module: bool,
    ask_kvm: fn() -> KvmAnswer,
}

impl HostAccelerator {
    /// Looks at the host.
    #[must_use]
    pub fn detect() -> Self {
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let has_module = ["/sys/module/kvm_intel", "/sys/module/kvm_amd"]
            .iter()
            .any(|path| Path::new(path).exists());
        Self::decide(&HostSupport {
            architecture: std::env::consts::ARCH,
            processor: &processor,
            has_module,
            ask_kvm: kvm::ask,
        })
    }

    fn decide(host: &HostSupport<'_>) -> Self {
        let lacks_virtualisation =
            host.architecture == "x86_64" && !host.has_module && !has_flag(host.processor);
        if lacks_virtualisation {
            // What stops guests half-way may stop who asks, too.
            return Self {
                architecture: host.architecture,
                obstacle: Some("no KVM on this host"),
            };
        }
        let obstacle = match (host.ask_kvm)() {
            KvmAnswer::NoDevice => Some("no KVM on this host"),
            KvmAnswer::Closed => Some(CLOSED),
            KvmAnswer::MakesNoMachine => Some("/dev/kvm makes no virtual machine"),
            KvmAnswer::MakesMachines => None,
        };
        Self {
            architecture: host.architecture,
            obstacle,
        }
    }

    /// Returns why the processor of the host runs no guests; `None` if it does.
    #[must_use]
    pub fn obstacle(&self) -> Option<&'static str> {
        self.obstacle
    }

    /// Returns the accelerator of a node's machine: the processor runs guests of its own architecture only.
    #[must_use]
    pub fn of(&self, node: &Node) -> AcceleratorChoice {
        let architecture = node.architecture();
        let is_own = architecture == self.architecture
            || (self.architecture, architecture) == ("x86_64", "i686");
        let reason = if is_own {
            self.obstacle.map(str::to_owned)
        } else {
            Some(format!("{architecture} on {}", self.architecture))
        };
        AcceleratorChoice {
            accelerator: if reason.is_none() {
                Accelerator::Kvm
            } else {
                Accelerator::Tcg
            },
            reason,
        }
    }
}

/// Whether a processor of Intel or AMD has virtualisation.
fn has_flag(processor: &str) -> bool {
    let mut flags = processor
        .lines()
        .filter(|line| line.starts_with("flags"))
        .flat_map(str::split_whitespace);
    flags.any(|flag| flag == "vmx" || flag == "svm")
}

#[cfg(test)]
mod tests {
    use super::*;

    const X86: HostSupport<'_> = HostSupport {
        architecture: "x86_64",
        processor: "flags\t: fpu svm\n",
        has_module: false,
        ask_kvm: || KvmAnswer::MakesMachines,
    };

    /// /proc/cpuinfo of a host with Neoverse N1 processors: virtualisation is not among the features.
    const NEOVERSE: &str = "processor\t: 0\nBogoMIPS\t: 243.75\n\
        Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs\n\
        CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\nCPU revision\t: 1\n\n";

    /// /proc/cpuinfo of a Raspberry Pi 4.
    const CORTEX: &str = "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\n\
        CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n\
        Revision\t: c03114\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n";

    fn node(system: &str) -> Node {
        Node {
            system: system.to_owned(),
            ..Node::of_script("/x".into())
        }
    }

    fn obstacle(host: &HostSupport<'_>) -> Option<&'static str> {
        HostAccelerator::decide(host).obstacle()
    }

    #[test]
    fn a_device_without_virtualisation_is_not_trusted() {
        let host = HostSupport {
            processor: "flags\t: fpu sse2\n",
            ask_kvm: || panic!("it is not to be asked"),
            ..X86
        };
        assert_eq!(obstacle(&host), Some("no KVM on this host"));
        let with_module = HostSupport {
            has_module: true,
            ask_kvm: X86.ask_kvm,
            ..host
        };
        assert_eq!(obstacle(&with_module), None);
    }

    #[test]
    fn virtualisation_with_its_device_is_used() {
        assert_eq!(obstacle(&X86), None);
        let without = |ask_kvm| obstacle(&HostSupport { ask_kvm, ..X86 });
        assert_eq!(without(|| KvmAnswer::NoDevice), Some("no KVM on this host"));
        assert_eq!(
            without(|| KvmAnswer::Closed),
            Some("/dev/kvm cannot be opened")
        );
        assert_eq!(
            without(|| KvmAnswer::MakesNoMachine),
            Some("/dev/kvm makes no virtual machine")
        );
    }

    #[test]
    fn processors_of_arm_say_nothing_of_virtualisation() {
        for processor in [NEOVERSE, CORTEX] {
            let host = HostSupport {
                architecture: "aarch64",
                processor,
                ..X86
            };
            assert_eq!(obstacle(&host), None);
            let closed = HostSupport {
                ask_kvm: || KvmAnswer::NoDevice,
                ..host
            };
            assert_eq!(obstacle(&closed), Some("no KVM on this host"));
        }
    }

    #[test]
    fn guests_of_another_architecture_are_emulated() {
        let arm = HostAccelerator::decide(&HostSupport {
            architecture: "aarch64",
            processor: NEOVERSE,
            ..X86
        });
        assert_eq!(arm.of(&node("aarch64-linux")).accelerator, Accelerator::Kvm);
        let other = arm.of(&node("x86_64-linux"));
        assert_eq!(other.accelerator, Accelerator::Tcg);
        assert_eq!(other.reason.as_deref(), Some("x86_64 on aarch64"));
        let x86 = HostAccelerator::decide(&X86);
        assert_eq!(x86.of(&node("i686-linux")).accelerator, Accelerator::Kvm);
        assert_eq!(x86.of(&node("aarch64-linux")).accelerator, Accelerator::Tcg);
    }
}
