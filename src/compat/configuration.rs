//! The configuration file of nixpkgs' driver since 26.05.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::CompatError;
use super::nspawn_script::read_nspawn_script;
use super::time_limit::TimeLimit;
use crate::input_file::{read_json, read_script};
use crate::model::manifest::{Manifest, Node};
use crate::runner::BuiltTest;

/// nixpkgs' `driverConfiguration`, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Configuration {
    vms: BTreeMap<String, Member>,
    #[serde(default)]
    containers: BTreeMap<String, Member>,
    vlans: Vec<u32>,
    global_timeout: TimeLimit,
    #[serde(default)]
    test_script: Option<PathBuf>,
    #[serde(default)]
    enable_ssh_backdoor: bool,
}

#[derive(Debug, Deserialize)]
struct Member {
    start_script: PathBuf,
}

/// The program that connects SSH with virtual machines: nixpkgs' wrapper has it on PATH.
const VSOCK_SERVER: &str = "vhost-device-vsock";

/// Reads the test of a configuration, with its own script unless another one is given.
pub(super) fn read_configuration(
    file: &Path,
    script: Option<&Path>,
) -> Result<BuiltTest, CompatError> {
    let configuration: Configuration = read_json(file)?;
    let path = script.or(configuration.test_script.as_deref());
    let path = path.ok_or(CompatError::NoScript)?;
    let script = read_script(path)?;
    let asks = configuration.enable_ssh_backdoor;
    let ssh_backdoor = asks.then(|| PathBuf::from(VSOCK_SERVER));
    let nodes = configuration.vms.into_iter();
    let mut nodes: BTreeMap<String, Node> = nodes
        .map(|(name, member)| {
            let node = Node {
                ssh_backdoor: ssh_backdoor.clone(),
                ..Node::of_script(member.start_script)
            };
            (name, node)
        })
        .collect();
    for (number, (name, member)) in (1..=u8::MAX).zip(configuration.containers) {
        nodes.insert(name, read_nspawn_script(&member.start_script, number)?);
    }
    let manifest = Manifest {
        vlans: configuration.vlans,
        global_timeout_s: configuration.global_timeout.0,
        ..Manifest::of_script(path, nodes)
    };
    Ok(BuiltTest {
        manifest,
        script,
        warnings: Vec::new(),
    })
}
