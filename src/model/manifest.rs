//! The manifest of a test: what the Nix side makes of it (see `nix-lib/manifest.nix`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The version of the manifest that this program reads.
pub const VERSION: u32 = 9;

/// The default of `virtualisation.memorySize` in NixOS, in MiB.
const DEFAULT_MEMORY_MIB: u64 = 1024;

/// The global timeout of nixpkgs' driver for a test without one, in seconds.
const DEFAULT_TIMEOUT_S: u64 = 3600;

/// A test as plain data. Unknown fields are errors: they are of another version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub version: u32,
    pub name: String,
    pub nodes: BTreeMap<String, Node>,
    /// Containers are read and listed only.
    pub containers: BTreeMap<String, serde_json::Value>,
    /// The virtual networks that any node is on.
    pub vlans: Vec<u32>,
    /// The script's file in the store.
    pub test_script: PathBuf,
    pub test_script_source: ScriptSource,
    /// Seconds.
    pub global_timeout_s: u64,
    pub enable_ocr: bool,
    pub skip_lint: bool,
    pub skip_type_check: bool,
    /// Store paths of Python packages that the script imports.
    pub python_packages: Vec<PathBuf>,
    pub shell_options: ShellOptions,
}

/// The options of bash with which the script's commands run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ShellOptions {
    /// `set -euo pipefail`, as in nixpkgs' driver since 21.05.
    #[default]
    Strict,
    /// None, as in nixpkgs 20.09.
    None,
}

/// Where the script is in the user's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ScriptSource {
    pub file: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The script `run-NAME-vm`; None for a machine that is only ever a container.
    pub start_script: Option<PathBuf>,
    pub backend: BackendChoice,
    /// The parts of the machine as a container, if the test wants one.
    pub container: Option<ContainerNode>,
    /// The options that a container cannot do; None if that is not known.
    pub container_obstacles: Option<Vec<String>>,
    pub system: String,
    /// The virtual networks of its cards, in order.
    pub vlans: Vec<u32>,
    /// The names of its cards in the guest, in the same order.
    pub interfaces: Vec<String>,
    pub memory_mib: Option<u64>,
    /// Processors of a virtual machine; None if its nixpkgs does not say.
    pub cores: Option<u64>,
    pub guest: Guest,
    pub snapshot_safe: bool,
    /// The store that Snowglobe has given the machine so that its state can be saved; None for a machine as the test has it.
    pub snapshot_store: Option<SnapshotStore>,
    /// Whether the machine may not be emulated.
    pub requires_kvm: bool,
    /// `vhost-device-vsock`, by its path or its name on PATH, for a machine that SSH is to reach by vsock; None for others.
    pub ssh_backdoor: Option<PathBuf>,
    /// The systemd units that its configuration defines; others may come with packages, or at run time.
    pub units: Vec<String>,
    /// The system of NixOS, which has `bin/switch-to-configuration`; None for other guests.
    pub toplevel: Option<PathBuf>,
}

/// The kind of machine that a test asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum BackendChoice {
    /// A virtual machine, run by QEMU.
    #[default]
    Vm,
    /// Namespaces of the host's kernel.
    Container,
    /// A container if nothing speaks against it.
    Auto,
}

/// The Nix store of a machine that mounts nothing over 9p.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotStore {
    /// A file system image, made at each start.
    Image,
    /// The host's store, served by virtiofsd.
    Virtiofs,
}

/// Whether machines are changed so that their state can be saved, where the test can be extended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotSafety {
    #[default]
    Off,
    /// With the store of the host if QEMU saves it, with an image otherwise.
    Auto,
    /// With an image.
    Image,
    /// With the store of the host.
    Virtiofs,
}

impl SnapshotSafety {
    /// Returns the value of `snapshotStore` of the library's entry; `None` for machines as they are.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Off => None,
            Self::Auto => Some("auto"),
            Self::Image => Some("image"),
            Self::Virtiofs => Some("virtiofs"),
        }
    }
}

impl BackendChoice {
    /// Returns the name that manifests and options use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vm => BackendKind::Vm.name(),
            Self::Container => BackendKind::Container.name(),
            Self::Auto => "auto",
        }
    }
}

/// The kind of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BackendKind {
    /// A virtual machine, run by QEMU.
    Vm,
    /// Namespaces of the host's kernel.
    Container,
}

impl BackendKind {
    /// Returns the name that manifests, scripts and displays use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Container => "container",
        }
    }
}

impl From<BackendKind> for BackendChoice {
    fn from(kind: BackendKind) -> Self {
        match kind {
            BackendKind::Vm => Self::Vm,
            BackendKind::Container => Self::Container,
        }
    }
}

/// The parts of a machine as a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ContainerNode {
    pub host_name: String,
    /// The tree of its root; None for empty folders, which NixOS fills itself.
    pub tree: Option<PathBuf>,
    /// Prepares the root, whose path is its argument.
    pub activation: Option<PathBuf>,
    /// The guest's first program, and its arguments.
    pub init: Vec<String>,
    pub root_life: RootLife,
    /// How much the guest can write, in MiB.
    pub size_mib: u64,
    /// Network cards, in order.
    pub cards: Vec<ContainerCard>,
    /// Files whose content its system has as credentials, by name.
    pub credentials: BTreeMap<String, PathBuf>,
    /// Files and folders of the host in the container.
    pub binds: Vec<ContainerBind>,
    /// Files that are below /run when its init starts, by their paths there.
    pub run_files: BTreeMap<String, String>,
    /// Whether the guest can write to its Nix store: to a layer of its own.
    pub writable_store: bool,
}

impl ContainerNode {
    /// How much memory of the host the container may take, in MiB: `memory_mib` for its processes, and its disk, if
    /// that is one of its own. The files of a root that lives as long as a boot are in the memory of a virtual machine,
    /// too.
    #[must_use]
    pub fn granted_mib(&self, memory_mib: u64) -> u64 {
        match self.root_life {
            RootLife::Boot => memory_mib,
            RootLife::Run => memory_mib.saturating_add(self.size_mib),
        }
    }
}

/// A file or folder of the host that a container shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ContainerBind {
    pub source: PathBuf,
    /// In the guest.
    pub place: PathBuf,
    pub read_only: bool,
}

/// How long what a container has written is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RootLife {
    /// Until the guest powers off or restarts, as on the built-in guests' virtual machines.
    Boot,
    /// Until the run ends, as on a disk.
    Run,
}

/// A network card of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ContainerCard {
    /// In the guest.
    pub name: String,
    pub mac: String,
    /// Its virtual network; None leads nowhere.
    pub vlan: Option<u32>,
}

/// The kind of a machine's guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Guest {
    Nixos,
    Debian,
    Tiny,
}

impl Guest {
    /// Whether its run script takes QEMU from PATH. NixOS' own bring theirs.
    #[must_use]
    pub fn needs_host_qemu(self) -> bool {
        self != Self::Nixos
    }
}

impl Node {
    /// A node of which only the run script is known.
    #[must_use]
    pub fn of_script(start_script: PathBuf) -> Self {
        Self {
            start_script: Some(start_script),
            backend: BackendChoice::Vm,
            container: None,
            container_obstacles: None,
            system: std::env::consts::ARCH.to_owned() + "-linux",
            vlans: Vec::new(),
            interfaces: Vec::new(),
            memory_mib: None,
            cores: None,
            guest: Guest::Nixos,
            snapshot_safe: false,
            snapshot_store: None,
            requires_kvm: false,
            ssh_backdoor: None,
            units: Vec::new(),
            toplevel: None,
        }
    }

    /// Returns the architecture of its processor, as Nix and Linux name it.
    #[must_use]
    pub fn architecture(&self) -> &str {
        let system = self.system.as_str();
        system
            .split_once('-')
            .map_or(system, |(architecture, _)| architecture)
    }

    /// Returns the kind of the machine; `None` until it is decided (see `session::decide_backends`).
    #[must_use]
    pub fn kind(&self) -> Option<BackendKind> {
        match self.backend {
            BackendChoice::Vm => Some(BackendKind::Vm),
            BackendChoice::Container => Some(BackendKind::Container),
            BackendChoice::Auto => None,
        }
    }

    /// The memory of the machine, in MiB.
    #[must_use]
    pub fn memory_or_default_mib(&self) -> u64 {
        self.memory_mib.unwrap_or(DEFAULT_MEMORY_MIB)
    }

    /// The NAME of `run-NAME-vm`, which is the machine's name; that of a container is its host name.
    #[must_use]
    pub fn machine_name(&self) -> Option<&str> {
        let Some(start_script) = &self.start_script else {
            return Some(&self.container.as_ref()?.host_name);
        };
        start_script
            .file_name()?
            .to_str()?
            .strip_prefix("run-")?
            .strip_suffix("-vm")
    }
}

impl Manifest {
    /// A test of which only the script and its machines are known.
    #[must_use]
    pub fn of_script(script: &Path, nodes: BTreeMap<String, Node>) -> Self {
        Self {
            version: VERSION,
            name: test_name(script),
            nodes,
            containers: BTreeMap::new(),
            vlans: Vec::new(),
            test_script: script.to_owned(),
            test_script_source: ScriptSource {
                file: script.to_owned(),
                line: None,
            },
            global_timeout_s: DEFAULT_TIMEOUT_S,
            enable_ocr: false,
            skip_lint: false,
            skip_type_check: false,
            python_packages: Vec::new(),
            shell_options: ShellOptions::default(),
        }
    }

    /// The machine's name of a node: that of its run script, which is its host
    /// name, or the node's if others have the same host name or one is named like that. None where
    /// the run script is not named after a machine.
    #[must_use]
    pub fn machine_name<'a>(&'a self, node_name: &'a str) -> Option<&'a str> {
        let name = self.nodes.get(node_name)?.machine_name()?;
        let owners = self.nodes.values().map(Node::machine_name);
        let is_only = owners.filter(|owner| *owner == Some(name)).count() == 1;
        let is_free = name == node_name || !self.nodes.contains_key(name);
        Some(if is_only && is_free { name } else { node_name })
    }
}

/// A script of nixpkgs' driver is in a store path that is named after the test.
fn test_name(script: &Path) -> String {
    script
        .iter()
        .filter_map(|part| part.to_str())
        .find_map(|part| Some(part.split_once("-nixos-test-driver-")?.1.to_owned()))
        .or_else(|| Some(script.file_stem()?.to_str()?.to_owned()))
        .unwrap_or_else(|| "test".to_owned())
}

/// The name that the only one of `count` machines has beside its node's.
#[must_use]
pub fn only_machine_name(count: usize) -> Option<&'static str> {
    (count == 1).then_some("machine")
}

/// The name of a node in the script: what Python takes for a name.
#[must_use]
pub fn python_name(node: &str) -> String {
    node.char_indices()
        .map(|(position, c)| {
            let allowed = c == '_' || c.is_ascii_alphabetic() || c.is_ascii_digit() && position > 0;
            if allowed { c } else { '_' }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_become_python_names() {
        assert_eq!(python_name("web-server.1"), "web_server_1");
        assert_eq!(python_name("3com"), "_com");
        assert_eq!(python_name("server"), "server");
    }

    #[test]
    fn fields_of_another_version_are_errors() {
        let text = r#"{"start_script":"/a","backend":"vm","container":null,"container_obstacles":null,"system":"x","vlans":[],"interfaces":[],
            "memory_mib":null,"cores":null,"guest":"tiny","snapshot_safe":true,"requires_kvm":false,"surplus":1}"#;
        let error = serde_json::from_str::<Node>(text).unwrap_err().to_string();
        assert!(error.contains("unknown field `surplus`"), "{error}");
    }

    #[test]
    fn the_name_of_a_node_is_its_own() {
        let node = |host: &str| Node::of_script(PathBuf::from(format!("/bin/run-{host}-vm")));
        let nodes = [("a", "x"), ("b", "a"), ("c", "y"), ("d", "y")];
        let nodes = nodes.map(|(name, host)| (name.to_owned(), node(host)));
        let manifest = Manifest::of_script(Path::new("t.py"), BTreeMap::from(nodes));
        let names = ["a", "b", "c", "d"].map(|name| manifest.machine_name(name).unwrap());
        assert_eq!(names, ["x", "b", "c", "d"]);
    }

    #[test]
    fn tests_are_named_by_their_drivers() {
        let name = |path| test_name(Path::new(path));
        assert_eq!(
            name("/nix/store/x-nixos-test-driver-login/test-script"),
            "login"
        );
        assert_eq!(name("/home/x/my-test.py"), "my-test");
        assert_eq!(name(""), "test");
    }
}
