//! Which machines are containers: what their nodes, the script and the host allow.

use crate::container::{self, Requirement};
use crate::language::check::{ContainerObstacle, container_obstacles};
use crate::model::manifest::{BackendChoice, BackendKind, Manifest, Node, python_name};

/// The kind that was chosen for a machine, which may be either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendDecision {
    /// The name of the node.
    pub node: String,
    pub kind: BackendKind,
    /// A line for people, with the reason.
    pub text: String,
}

/// Decides for each machine that may be either.
pub fn decide_backends(manifest: &mut Manifest, script: &str) -> Vec<BackendDecision> {
    let is_open = |node: &Node| node.backend == BackendChoice::Auto;
    if !manifest.nodes.values().any(is_open) {
        return Vec::new();
    }
    let missing = container::missing();
    let obstacles = obstacles_of(manifest, script);
    let open = manifest.nodes.iter_mut();
    open.filter(|(_, node)| is_open(node))
        .map(|(name, node)| {
            let (kind, text) = match objection(name, node, &obstacles, &missing) {
                None => (BackendKind::Container, format!("{name}: a container")),
                Some(objection) => (
                    BackendKind::Vm,
                    format!("{name}: a virtual machine, as {objection}"),
                ),
            };
            node.backend = kind.into();
            BackendDecision {
                node: name.clone(),
                kind,
                text,
            }
        })
        .collect()
}

/// Returns what to propose if all machines of a test could be containers, as far as that is known, and none is one.
#[must_use]
pub fn proposal(manifest: &Manifest, script: &str) -> Option<&'static str> {
    let nodes = || manifest.nodes.iter();
    let are_vms = nodes().all(|(_, node)| node.kind() == Some(BackendKind::Vm));
    if !are_vms || manifest.nodes.is_empty() {
        return None;
    }
    // Options of NixOS machines are looked at for containers alone: it takes time.
    let is_known = nodes().all(|(_, node)| node.container_obstacles.is_some());
    let obstacles = obstacles_of(manifest, script);
    let could_be = nodes().all(|(name, node)| {
        node.container_obstacles.is_none() && obstacles.is_empty()
            || objection(name, node, &obstacles, &[]).is_none()
    });
    if !could_be || !container::missing().is_empty() {
        return None;
    }
    Some(if is_known {
        "`--backend auto` runs containers instead"
    } else {
        "`--backend auto` runs containers where nothing speaks against them"
    })
}

/// Whether all machines are containers.
#[must_use]
pub fn are_all_containers(manifest: &Manifest) -> bool {
    let mut nodes = manifest.nodes.values();
    !manifest.nodes.is_empty() && nodes.all(|node| node.kind() == Some(BackendKind::Container))
}

fn obstacles_of(manifest: &Manifest, script: &str) -> Vec<ContainerObstacle> {
    let names: Vec<String> = manifest
        .nodes
        .keys()
        .map(|name| python_name(name))
        .collect();
    container_obstacles(script, &names)
}

/// Returns the reason why a node cannot be a container; `None` if it can.
fn objection(
    name: &str,
    node: &Node,
    obstacles: &[ContainerObstacle],
    missing: &[Requirement],
) -> Option<String> {
    let Some(options) = &node.container_obstacles else {
        return Some("machines of this nixpkgs cannot be containers".to_owned());
    };
    if let Some(option) = options.first() {
        return Some(format!("a container cannot do `{option}`"));
    }
    let machine = python_name(name);
    if let Some(obstacle) = obstacles.iter().find(|found| found.concerns(&machine)) {
        let ContainerObstacle { call, lacks, .. } = obstacle;
        return Some(format!(
            "a container has no {lacks} for `{call}` in the script"
        ));
    }
    let lack = missing.first()?;
    Some(format!("this host lacks {}: {}", lack.name, lack.found))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::container::RequirementKind;

    fn node(obstacles: Option<&[&str]>) -> Node {
        Node {
            backend: BackendChoice::Auto,
            container_obstacles: obstacles
                .map(|names| names.iter().map(|&name| name.to_owned()).collect()),
            ..Node::of_script(PathBuf::from("run-a-vm"))
        }
    }

    fn objection_to(node: &Node, script: &str, missing: &[Requirement]) -> Option<String> {
        let obstacles = container_obstacles(script, &["a".to_owned()]);
        objection("a", node, &obstacles, missing)
    }

    #[test]
    fn nodes_scripts_and_hosts_may_object() {
        let free = node(Some(&[]));
        assert_eq!(objection_to(&free, "a.succeed('true')", &[]), None);
        assert_eq!(
            objection_to(&node(Some(&["boot.kernelParams"])), "", &[]).unwrap(),
            "a container cannot do `boot.kernelParams`"
        );
        assert_eq!(
            objection_to(&free, "a.screenshot('x')", &[]).unwrap(),
            "a container has no display for `screenshot` in the script"
        );
        assert!(
            objection_to(&node(None), "", &[])
                .unwrap()
                .contains("this nixpkgs")
        );
        let lack = Requirement {
            name: "/dev/net/tun",
            found: "permission denied".to_owned(),
            remedy: "",
            kind: RequirementKind::Tun,
        };
        assert_eq!(
            objection_to(&free, "", &[lack]).unwrap(),
            "this host lacks /dev/net/tun: permission denied"
        );
    }

    #[test]
    fn nothing_is_decided_for_machines_that_say() {
        let mut vm = node(Some(&[]));
        vm.backend = BackendChoice::Vm;
        let mut manifest =
            Manifest::of_script(Path::new("x"), BTreeMap::from([("a".to_owned(), vm)]));
        assert!(decide_backends(&mut manifest, "").is_empty());
        assert!(!are_all_containers(&manifest));
    }
}
