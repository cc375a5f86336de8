//! Whether the processor can run guests by itself.
//!
//! A `/dev/kvm` that opens proves nothing: there are kernels that offer it on
//! processors without virtualisation, where guests stop half-way.

use std::fs;
use std::path::Path;

use crate::backend::Accelerator;

/// The accelerator, and why it is not the fast one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceleratorChoice {
    pub accelerator: Accelerator,
    pub reason: Option<&'static str>,
}

/// The facts that speak for KVM on a host.
struct HostSupport {
    /// The text of /proc/cpuinfo.
    processor: String,
    has_module: bool,
    device_opens: bool,
}

impl AcceleratorChoice {
    /// Looks at the machine.
    #[must_use]
    pub fn detect() -> Self {
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let modules = ["/sys/module/kvm_intel", "/sys/module/kvm_amd"]
            .iter()
            .any(|path| Path::new(path).exists());
        let device = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_ok();
        Self::decide(&HostSupport {
            processor,
            has_module: modules,
            device_opens: device,
        })
    }

    fn decide(host: &HostSupport) -> Self {
        let virtualises = host
            .processor
            .lines()
            .filter(|line| line.starts_with("flags"))
            .any(|line| {
                line.split_whitespace()
                    .any(|flag| flag == "vmx" || flag == "svm")
            });
        let reason = if !virtualises && !host.has_module {
            Some("no KVM on this host")
        } else if !host.device_opens {
            Some("/dev/kvm cannot be opened")
        } else {
            None
        };
        Self {
            accelerator: if reason.is_none() {
                Accelerator::Kvm
            } else {
                Accelerator::Tcg
            },
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_virtualisation_is_not_trusted() {
        let choice = AcceleratorChoice::decide(&HostSupport {
            processor: "flags\t: fpu sse2\n".to_owned(),
            has_module: false,
            device_opens: true,
        });
        assert_eq!(choice.accelerator, Accelerator::Tcg);
    }

    #[test]
    fn virtualisation_with_its_device_is_used() {
        let choice = AcceleratorChoice::decide(&HostSupport {
            processor: "flags\t: fpu svm\n".to_owned(),
            has_module: false,
            device_opens: true,
        });
        assert_eq!(choice.accelerator, Accelerator::Kvm);
        assert_eq!(choice.reason, None);
        let closed = AcceleratorChoice::decide(&HostSupport {
            processor: "flags\t: fpu vmx\n".to_owned(),
            has_module: true,
            device_opens: false,
        });
        assert_eq!(closed.accelerator, Accelerator::Tcg);
    }
}
