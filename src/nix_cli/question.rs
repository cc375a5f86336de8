//! A question to Nix: everything that can change the answer, except files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::digest::Digest;

/// Variables that Nix itself and nixpkgs read.
const VARIABLES: [&str; 6] = [
    "HOME",
    "USER",
    "LOGNAME",
    "XDG_CONFIG_HOME",
    "IN_NIX_SHELL",
    "PATH",
];

/// Configuration that Nix and nixpkgs read, below the home folder.
const CONFIGURATION: [&str; 3] = [".config/nix", ".config/nixpkgs", ".nixpkgs"];

/// Variables that name more of it.
const CONFIGURATION_VARIABLES: [&str; 3] =
    ["NIX_CONF_DIR", "NIX_USER_CONF_FILES", "NIXPKGS_CONFIG"];

/// Where Nix looks for nixpkgs when nothing else is reply; the relative ones
/// below the home folder.
const CHANNELS: [&str; 5] = [
    "/nix/var/nix/profiles/per-user/root/channels",
    "/root/.nix-defexpr/channels",
    ".nix-defexpr/channels",
    ".local/state/nix/profiles/channels",
    ".local/state/nix/defexpr/channels",
];

/// A question to Nix. It may hold secrets, and is never written to disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The whole command line.
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    /// Where the names of the search path lead to.
    search: BTreeMap<String, PathBuf>,
}

impl Question {
    /// Returns the question of a command line in this environment; `None` if a name of the search path leads to no
    /// folder of this host.
    #[must_use]
    pub fn new(arguments: Vec<String>, includes: &[String]) -> Option<Self> {
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("NIX") || VARIABLES.contains(&name.as_str()))
            .collect();
        let mut search = BTreeMap::new();
        let entries = environment
            .get("NIX_PATH")
            .map(String::as_str)
            .unwrap_or_default();
        if ["://", "flake:", "channel:"]
            .iter()
            .any(|scheme| entries.contains(scheme))
        {
            return None;
        }
        for entry in includes
            .iter()
            .map(String::as_str)
            .chain(entries.split(':'))
        {
            let (name, path) = entry.split_once('=').unwrap_or(("", entry));
            if path.contains("://") || path.starts_with("flake:") || path.starts_with("channel:") {
                return None;
            }
            if let Ok(path) = fs::canonicalize(path) {
                search.entry(format!("{name}={entry}")).or_insert(path);
            }
        }
        for folder in CHANNELS.map(|folder| home().join(folder)) {
            for channel in [folder.clone(), folder.join("nixpkgs")] {
                if let Ok(path) = fs::canonicalize(&channel) {
                    search.insert(format!("={}", channel.display()), path);
                }
            }
        }
        Some(Self {
            arguments,
            environment,
            search,
        })
    }

    /// The digest of all of it but the search path: a question takes the place
    /// of an earlier one for which that was another.
    pub(super) fn file_name(&self, key: &[u8; 32]) -> String {
        let mut digest = Digest::keyed(key);
        self.add_to(&mut digest);
        format!("{}.json", digest.name())
    }

    pub(super) fn digest(&self, key: &[u8; 32]) -> String {
        let mut digest = Digest::keyed(key);
        self.add_to(&mut digest);
        for (entry, path) in &self.search {
            digest
                .field(entry)
                .field(path.as_os_str().as_encoded_bytes());
        }
        digest.hex()
    }

    fn add_to(&self, digest: &mut Digest) {
        digest.field(self.arguments.len().to_le_bytes());
        for argument in &self.arguments {
            digest.field(argument);
        }
        digest.field(self.environment.len().to_le_bytes());
        for (name, value) in &self.environment {
            digest.field(name).field(value);
        }
    }
}

fn home() -> PathBuf {
    std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default()
}

/// The files and folders of configuration.
pub(super) fn configuration() -> Result<Vec<PathBuf>, String> {
    let mut paths = vec![PathBuf::from("/etc/nix")];
    paths.extend(CONFIGURATION.map(|name| home().join(name)));
    if let Some(folder) = std::env::var_os("XDG_CONFIG_HOME") {
        paths.extend(["nix", "nixpkgs"].map(|name| Path::new(&folder).join(name)));
    }
    for variable in CONFIGURATION_VARIABLES {
        let value = std::env::var_os(variable).unwrap_or_default();
        paths.extend(std::env::split_paths(&value).filter(|path| path.is_absolute()));
    }
    for path in &paths {
        for file in [path.clone(), path.join("nix.conf")] {
            let text = fs::read_to_string(&file).unwrap_or_default();
            if text.lines().any(leads_elsewhere) {
                return Err(format!("{} leads to other files", file.display()));
            }
        }
    }
    Ok(paths)
}

/// A line of nix.conf by which more is read than the file.
fn leads_elsewhere(line: &str) -> bool {
    let word = line.split([' ', '\t', '=']).next().unwrap_or_default();
    ["include", "!include", "nix-path", "extra-nix-path"].contains(&word)
}
