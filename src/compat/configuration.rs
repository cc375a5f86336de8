//! The configuration file of nixpkgs' driver since 26.05.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::CompatError;
use crate::input_file::{read_json, read_script};
use crate::model::manifest::{Manifest, Node};
use crate::runner::BuiltTest;

/// nixpkgs' `driverConfiguration`, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Configuration {
    vms: BTreeMap<String, Member>,
    #[serde(default)]
    containers: BTreeMap<String, serde_json::Value>,
    vlans: Vec<u32>,
    global_timeout: u64,
    test_script: PathBuf,
    #[serde(default)]
    enable_ssh_backdoor: bool,
}

#[derive(Debug, Deserialize)]
struct Member {
    start_script: PathBuf,
}

/// Reads the test of a configuration.
pub(super) fn read_configuration(file: &Path) -> Result<BuiltTest, CompatError> {
    let configuration: Configuration = read_json(file)?;
    let script = read_script(&configuration.test_script)?;
    let nodes = configuration
        .vms
        .into_iter()
        .map(|(name, member)| (name, Node::of_script(member.start_script)));
    let manifest = Manifest {
        vlans: configuration.vlans,
        containers: configuration.containers,
        global_timeout_s: configuration.global_timeout,
        ..Manifest::of_script(&configuration.test_script, nodes.collect())
    };
    let warnings = if configuration.enable_ssh_backdoor {
        vec!["enable_ssh_backdoor has no effect on this driver".to_owned()]
    } else {
        Vec::new()
    };
    Ok(BuiltTest {
        manifest,
        script,
        warnings,
    })
}
