//! Requirements of containers on the host.

use std::fs;
use std::path::Path;

use super::cgroup::Cgroup;
use super::identity::Identity;
use super::tap;

/// Something that the host lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Such as `user namespaces`.
    pub name: &'static str,
    /// The state that was found instead.
    pub found: String,
    /// How to have it.
    pub remedy: &'static str,
    pub kind: RequirementKind,
}

/// The kind of a requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequirementKind {
    UserNamespaces,
    UserIds,
    ControlGroup,
    Tun,
}

/// A limit that is 0 where an administrator allows no user namespaces.
const LIMIT: &str = "/proc/sys/user/max_user_namespaces";

/// Lists what the host lacks, without which there are no containers.
#[must_use]
pub fn missing() -> Vec<Requirement> {
    [user_namespaces(), range(), cgroup()]
        .into_iter()
        .flatten()
        .collect()
}

/// The device for network cards, if it is missing: cards are pairs of virtual ones then.
#[must_use]
pub fn missing_taps() -> Option<Requirement> {
    let found = tap::open_device().err()?.to_string();
    Some(Requirement {
        name: tap::DEVICE,
        found,
        remedy: "`modprobe tun`, and `chmod 666 /dev/net/tun`",
        kind: RequirementKind::Tun,
    })
}

/// Whether the kernel gives user namespaces to this user.
#[must_use]
pub fn has_user_namespaces() -> bool {
    user_namespaces().is_none()
}

fn user_namespaces() -> Option<Requirement> {
    let found = if !Path::new("/proc/self/ns/user").exists() {
        "the kernel has none".to_owned()
    } else if fs::read_to_string(LIMIT).is_ok_and(|text| text.trim() == "0") {
        format!("{LIMIT} is 0")
    } else {
        return None;
    };
    Some(Requirement {
        name: "user namespaces",
        found,
        remedy: "`sysctl user.max_user_namespaces=10000`",
        kind: RequirementKind::UserNamespaces,
    })
}

fn range() -> Option<Requirement> {
    let found = Identity::find().err()?.to_string();
    Some(Requirement {
        name: "a range of user IDs",
        found,
        remedy: "`usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`, and on Debian `apt install uidmap`",
        kind: RequirementKind::UserIds,
    })
}

fn cgroup() -> Option<Requirement> {
    let found = Cgroup::unlimited().err()?.to_string();
    Some(Requirement {
        name: "a control group that this user can write",
        found,
        remedy: "`systemd-run --user --scope -p Delegate=yes snowglobe …`",
        kind: RequirementKind::ControlGroup,
    })
}
