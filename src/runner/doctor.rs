//! The parts of this host that tests need: present, missing, and how to get them.

use std::process::Command;

use super::nix_settings::missing_settings;
use crate::child::on_path;
use crate::container::{self, RequirementKind};
use crate::qemu::{CLOSED, HostAccelerator, package_of, program_for};

/// Something that tests may need of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPart {
    /// Such as `QEMU`.
    pub name: &'static str,
    pub state: PartState,
}

/// Whether it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartState {
    /// The part is there, as described.
    Present(String),
    Missing {
        found: String,
        /// How to have it.
        remedy: String,
        need: Need,
        /// The remedy that only an administrator has.
        grant: Option<Grant>,
    },
}

/// Something that an administrator gives to a user without root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    Package {
        debian: &'static str,
        nixpkgs: &'static str,
    },
    UserIds,
    Kvm,
    UserNamespaces,
    /// A manager of the user's services, which gives control groups.
    ControlGroup,
    Tun,
    /// Lines of nix.conf.
    NixSettings(&'static [&'static str]),
}

const ARCH: &str = std::env::consts::ARCH;

/// Things that do not work without the part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// No test runs.
    Every,
    /// Tests are slower, or some do not run.
    Some(&'static str),
}

impl HostPart {
    fn present(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            state: PartState::Present(found.into()),
        }
    }

    fn missing(
        name: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
        need: Need,
        grant: Option<Grant>,
    ) -> Self {
        Self {
            name,
            state: PartState::Missing {
                found: found.into(),
                remedy: remedy.into(),
                need,
                grant,
            },
        }
    }
}

/// Looks at the host.
#[must_use]
pub fn examine_host() -> Vec<HostPart> {
    let nix = Program {
        name: "Nix",
        command: "nix-instantiate".to_owned(),
        remedy: "https://nixos.org/download (on Debian: `apt install nix-bin`)".to_owned(),
        need: Need::Every,
        grant: None,
    };
    let qemu = Program {
        name: "QEMU",
        command: program_for(ARCH),
        remedy: format!("on Debian: `apt install {}`", package_of(ARCH)),
        need: Need::Some("virtual machines of the built-in guests"),
        grant: Some(Grant::Package {
            debian: package_of(ARCH),
            nixpkgs: "qemu",
        }),
    };
    let apt = Program {
        name: "apt",
        command: "apt-get".to_owned(),
        remedy: "a Debian or a derivative of it".to_owned(),
        need: Need::Some("the built-in guests, and `--packages debian`"),
        grant: None,
    };
    let programs = [qemu.examine(), kvm(), apt.examine()];
    let parts = [nix.examine()].into_iter().chain(nix_settings());
    parts.chain(programs).chain(containers()).collect()
}

/// Whether no test can run.
#[must_use]
pub fn is_unfit(parts: &[HostPart]) -> bool {
    parts.iter().any(|part| {
        matches!(
            part.state,
            PartState::Missing {
                need: Need::Every,
                ..
            }
        )
    })
}

/// A program that prints its version.
struct Program {
    name: &'static str,
    command: String,
    remedy: String,
    need: Need,
    grant: Option<Grant>,
}

impl Program {
    fn examine(&self) -> HostPart {
        let version = on_path(&self.command).map(|path| {
            let output = Command::new(&path).arg("--version").output();
            let output = output.map(|output| output.stdout).unwrap_or_default();
            let text = String::from_utf8_lossy(&output);
            let line = text.lines().next().unwrap_or_default().trim();
            format!("{line} ({})", path.display())
        });
        match version {
            Some(version) => HostPart::present(self.name, version),
            None => HostPart::missing(
                self.name,
                format!("`{}` is not on PATH", self.command),
                self.remedy.clone(),
                self.need,
                self.grant,
            ),
        }
    }
}

fn nix_settings() -> Vec<HostPart> {
    let name = "Nix settings";
    let Some(missing) = missing_settings() else {
        return Vec::new();
    };
    if missing.is_empty() {
        let text = "flakes, tests as derivations, containers in them";
        return vec![HostPart::present(name, text)];
    }
    let parts = missing.into_iter().map(|setting| {
        let found = format!("`{}` is not in `{}`", setting.value, setting.name);
        let grant = Some(Grant::NixSettings(setting.lines));
        HostPart::missing(name, found, setting.remedy, Need::Some(setting.need), grant)
    });
    parts.collect()
}

fn kvm() -> HostPart {
    match HostAccelerator::detect().obstacle() {
        None => HostPart::present("KVM", "virtual machines run on the processor"),
        Some(reason) => HostPart::missing(
            "KVM",
            reason,
            "a host with virtualisation, or nested virtualisation; without both, containers (`--backend auto`)",
            Need::Some("virtual machines that are not emulated"),
            (reason == CLOSED).then_some(Grant::Kvm),
        ),
    }
}

fn containers() -> Vec<HostPart> {
    let missing = container::missing();
    let all = missing.is_empty().then(|| {
        let text = "user namespaces, user IDs and control groups are there";
        HostPart::present("containers", text)
    });
    let missing = missing
        .into_iter()
        .map(|lack| lacking(lack, "machines as containers"));
    let taps = container::missing_taps()
        .map(|lack| lacking(lack, "fast networks of containers, and VLAN tags on them"));
    all.into_iter().chain(missing).chain(taps).collect()
}

fn lacking(lack: container::Requirement, need: &'static str) -> HostPart {
    let grant = match lack.kind {
        RequirementKind::UserNamespaces => Grant::UserNamespaces,
        RequirementKind::UserIds => Grant::UserIds,
        RequirementKind::ControlGroup => Grant::ControlGroup,
        RequirementKind::Tun => Grant::Tun,
    };
    HostPart::missing(
        lack.name,
        lack.found,
        lack.remedy,
        Need::Some(need),
        Some(grant),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nix_is_needed_by_every_test() {
        let part = |need| HostPart {
            name: "x",
            state: PartState::Missing {
                found: String::new(),
                remedy: String::new(),
                need,
                grant: None,
            },
        };
        assert!(is_unfit(&[part(Need::Every)]));
        assert!(!is_unfit(&[part(Need::Some("y"))]));
        let absent = Program {
            name: "Absent",
            command: "no-such-program".to_owned(),
            remedy: "none".to_owned(),
            need: Need::Every,
            grant: None,
        };
        assert!(is_unfit(&[absent.examine()]));
    }
}
