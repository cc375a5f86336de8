//! The start script of a container of nixpkgs (26.05 or newer), as what our own engine makes of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::CompatError;
use crate::input_file::read_script;
use crate::model::manifest::{
    BackendChoice, ContainerBind, ContainerCard, ContainerNode, Node, RootLife,
};

/// The driver's shell, as nix-lib has it.
const SHELL: &str = include_str!("../../nix-lib/driver-shell.sh");

/// Where the shell's script is put, below /run.
const SHELL_FILE: &str = "snowglobe/shell";

/// Where systemd finds units before those of the system itself, below /run.
const UNITS: &str = "systemd/system.control";

/// Options of systemd-nspawn that say how nixpkgs runs it, and nothing about the container.
const USUAL: [&str; 10] = [
    "bind-ro=/nix/store:/nix/store",
    "bind=/proc:/run/host/proc",
    "bind=/sys:/run/host/sys",
    "keep-unit",
    "machine=",
    "notify-ready=",
    "private-network",
    "private-users=",
    "register=",
    "root-dir=",
];

/// A network card, as `--interfaces-json` has it.
#[derive(Debug, Deserialize)]
struct Interface {
    name: String,
    vlan: u32,
}

/// The default of `virtualisation.diskSize` in NixOS, in MiB: a start script does not name the size.
const DEFAULT_DISK_MIB: u64 = 1024;

/// Reads what a start script runs. `number` is the machine's own among those of its test, for hardware addresses.
///
/// # Errors
/// Returns an error if it is not such a script, or has an option that our engine does not know.
pub(super) fn read_nspawn_script(file: &Path, number: u8) -> Result<Node, CompatError> {
    let source = read_script(file)?;
    container_of(source.script(), number).map_err(|reason| CompatError::NspawnScript {
        path: file.to_owned(),
        reason,
    })
}

fn container_of(script: &str, number: u8) -> Result<Node, String> {
    let options = options_of(script).ok_or("it starts no container")?;
    let mut node = ContainerNode {
        host_name: String::new(),
        tree: None,
        activation: None,
        init: Vec::new(),
        root_life: RootLife::Run,
        size_mib: DEFAULT_DISK_MIB,
        cards: Vec::new(),
        credentials: BTreeMap::new(),
        binds: Vec::new(),
        run_files: run_files(),
        writable_store: false,
    };
    let mut arguments = Vec::new();
    for option in &options {
        if USUAL.iter().any(|usual| option.starts_with(usual)) {
            continue;
        }
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "container-name" => value.clone_into(&mut node.host_name),
            "init" => node.init.push(value.to_owned()),
            "cmdline-json" => arguments = from_json(value)?,
            "interfaces-json" => {
                node.cards = cards(&from_json::<Vec<Interface>>(value)?, number)?;
            }
            "load-credential" => {
                let (name, path) = value.split_once(':').ok_or("a credential has no file")?;
                let path = PathBuf::from(path);
                node.credentials.insert(name.to_owned(), path);
            }
            "bind" | "bind-ro" => node.binds.push(bind(value, name == "bind-ro")),
            _ => {
                return Err(format!(
                    "Snowglobe's containers have no option `--{option}`"
                ));
            }
        }
    }
    node.init.extend(arguments);
    if node.init.is_empty() {
        return Err("it names no init".to_owned());
    }
    Ok(node_of(node))
}

/// The arguments of the command, each option with its value after a `=`.
fn options_of(script: &str) -> Option<Vec<String>> {
    let command = script
        .lines()
        .find_map(|line| line.trim().strip_prefix("exec "))?;
    let mut options: Vec<String> = Vec::new();
    // The program, and what the caller adds.
    for word in shlex::split(command)?.into_iter().skip(1) {
        match (word.strip_prefix("--"), options.last_mut()) {
            (Some(option), _) => options.push(option.to_owned()),
            (None, Some(option)) if word != "$@" => *option = format!("{option}={word}"),
            (None, _) => {}
        }
    }
    Some(options)
}

fn from_json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// The cards with the hardware addresses that `nix-lib/hardware-addresses.nix` gives them.
fn cards(interfaces: &[Interface], number: u8) -> Result<Vec<ContainerCard>, String> {
    let card = |(index, Interface { name, vlan }): (usize, &Interface)| {
        let network = u8::try_from(*vlan)
            .map_err(|_| format!("network {vlan} has no hardware address: the last one is 255"))?;
        let earlier = interfaces[..index].iter();
        let earlier = earlier.filter(|other| other.vlan == *vlan).count();
        Ok(ContainerCard {
            name: name.clone(),
            mac: format!("52:54:{earlier:02x}:12:{network:02x}:{number:02x}"),
            vlan: Some(*vlan),
        })
    };
    interfaces.iter().enumerate().map(card).collect()
}

/// `SOURCE[:PLACE[:OPTIONS]]`
fn bind(value: &str, read_only: bool) -> ContainerBind {
    let mut parts = value.split(':');
    let source = parts.next().unwrap_or_default();
    let place = parts.next().filter(|place| !place.is_empty());
    ContainerBind {
        source: PathBuf::from(source),
        place: PathBuf::from(place.unwrap_or(source)),
        read_only,
    }
}

fn node_of(container: ContainerNode) -> Node {
    let vlans = container.cards.iter().filter_map(|card| card.vlan);
    let interfaces = container.cards.iter().map(|card| card.name.clone());
    Node {
        start_script: None,
        backend: BackendChoice::Container,
        vlans: vlans.collect(),
        interfaces: interfaces.collect(),
        container_obstacles: Some(Vec::new()),
        container: Some(container),
        ..Node::of_script(PathBuf::new())
    }
}

/// Returns the files of a service that runs a shell in the guest: nixpkgs' driver enters the guest from outside instead.
fn run_files() -> BTreeMap<String, String> {
    let bash = "/run/current-system/sw/bin/bash";
    let shell = SHELL
        .replace("@bash@", bash)
        .replace("@profile@", "/etc/profile");
    let service = format!(
        "[Unit]\nDescription=Shell of the test driver\nAfter=nss-user-lookup.target\n[Service]\nExecStart={bash} /run/{SHELL_FILE}\nKillSignal=SIGHUP\n"
    );
    let wants = "[Unit]\nWants=backdoor.service\n".to_owned();
    let files = [
        (SHELL_FILE.to_owned(), shell),
        (format!("{UNITS}/backdoor.service"), service),
        (format!("{UNITS}/multi-user.target.d/backdoor.conf"), wants),
        // An empty unit is masked: it would have the console.
        (format!("{UNITS}/console-getty.service"), String::new()),
        (
            "sysctl.d/99-snowglobe.conf".to_owned(),
            "net.ipv4.ping_group_range = 0 65535\n".to_owned(),
        ),
    ];
    files.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "#!/nix/store/x/bin/dash\n\nexec /nix/store/x/bin/run-nspawn --cmdline-json '[\"a b\"]' --container-name one --init /nix/store/y/init --interfaces-json '[{\"assignIP\":true,\"name\":\"eth1\",\"vlan\":3}]' --root-dir ./one-root --private-network --machine=one --bind-ro=/nix/store:/nix/store --private-users=no --bind=/proc:/run/host/proc --keep-unit --register=no --notify-ready=yes --bind=/srv:/mnt:norbind --load-credential=key:/nix/store/z \"$@\"\n";

    #[test]
    fn a_start_script_says_what_a_container_is() {
        let node = container_of(SCRIPT, 2).unwrap();
        assert_eq!(
            (node.vlans, node.backend),
            (vec![3], BackendChoice::Container)
        );
        let container = node.container.unwrap();
        assert_eq!(container.host_name, "one");
        assert_eq!(container.init, ["/nix/store/y/init", "a b"]);
        assert_eq!(container.cards[0].mac, "52:54:00:12:03:02");
        assert_eq!(container.credentials["key"], Path::new("/nix/store/z"));
        let bind = &container.binds[0];
        assert_eq!(
            (&*bind.source, &*bind.place, bind.read_only),
            (Path::new("/srv"), Path::new("/mnt"), false)
        );
        assert_eq!(container.binds.len(), 1);
    }

    #[test]
    fn what_is_not_known_is_named() {
        let reason = |script: &str| container_of(script, 1).unwrap_err();
        assert_eq!(reason("#!/bin/sh\ntrue\n"), "it starts no container");
        assert_eq!(
            reason(&SCRIPT.replace("--keep-unit", "--capability=all")),
            "Snowglobe's containers have no option `--capability=all`"
        );
        assert_eq!(reason("exec run --machine=x"), "it names no init");
    }
}
