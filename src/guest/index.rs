//! The index that the Nix side reads: which packages are in the store, and what each needs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
use serde::{Deserialize, Serialize};

use super::package::Package;

/// The content of `nix-lib/builtin/packages.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedPackages {
    /// Packages of the root image of guest `debian`.
    pub root: Vec<String>,
    /// The package whose dependency is the kernel.
    pub kernel: String,
    /// Packages that build the images.
    pub tools: Vec<String>,
    /// Packages for tests to use.
    pub extra: Vec<String>,
    /// Packages that others depend on and that no guest needs.
    pub left_out: Vec<String>,
    /// The packages of guests of other systems than the machine's, by system.
    #[serde(default)]
    pub foreign: BTreeMap<String, WantedForeign>,
    /// npm packages, by the name the Nix side knows them under.
    pub npm: BTreeMap<String, String>,
    /// npm packages that are fetched if the user asks for their name.
    #[serde(default)]
    pub npm_on_request: BTreeMap<String, String>,
}

/// Packages of another system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedForeign {
    /// Debian's name of the system.
    pub architecture: String,
    /// The package whose dependency is the kernel.
    pub kernel: String,
    /// All others.
    pub packages: Vec<String>,
}

/// A file or folder in the store, by the hash of its content: hexadecimal for
/// a single file, Nix's base 32 of the archive for a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreFile {
    /// Its name in the store.
    pub name: String,
    pub sha256: String,
    pub path: PathBuf,
}

/// One package and its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub version: String,
    #[serde(flatten)]
    pub file: StoreFile,
}

/// Packages that are built together, since each of them needs the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    pub debs: Vec<String>,
    /// Other units.
    pub depends: Vec<String>,
}

/// The whole index, as written to `guest-index.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    pub version: u32,
    /// The request that the index was made from.
    pub wanted: WantedPackages,
    /// The suite of Debian; None is the machine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// Packages asked for on the command line, so that a later fetch keeps them.
    pub requested: BTreeSet<String>,
    /// All packages of the root image.
    pub root: Vec<String>,
    pub kernel: String,
    pub busybox: StoreFile,
    pub debs: BTreeMap<String, Stored>,
    pub units: BTreeMap<String, Unit>,
    pub npm: BTreeMap<String, Stored>,
    /// The packages of guests of other systems, by system.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub foreign: BTreeMap<String, ForeignIndex>,
}

/// The packages of guests of one system that is not the machine's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignIndex {
    /// The request that the packages were fetched for.
    pub wanted: WantedForeign,
    /// Packages asked for on the command line, so that a later fetch keeps them.
    pub requested: BTreeSet<String>,
    pub kernel: String,
    pub debs: BTreeMap<String, Stored>,
    pub units: BTreeMap<String, Unit>,
}

impl Index {
    /// The files in the store of the machine's own guests.
    pub fn own_files(&self) -> impl Iterator<Item = &Path> {
        let stored = self.debs.values().chain(self.npm.values());
        let files = stored.map(|stored| stored.file.path.as_path());
        files.chain([self.busybox.path.as_path()])
    }

    /// All files in the store.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let foreign = self.foreign.values().flat_map(ForeignIndex::files);
        self.own_files().chain(foreign)
    }
}

impl ForeignIndex {
    /// The files in the store.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.debs.values().map(|stored| stored.file.path.as_path())
    }
}

/// The names of `roots` and of everything they need among `packages`.
pub fn closure(packages: &BTreeMap<String, Package>, roots: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = roots.iter().map(String::as_str).collect();
    while let Some(name) = open.pop() {
        let Some(package) = packages.get(name) else {
            continue;
        };
        if found.insert(name.to_owned()) {
            open.extend(package.depends.iter().map(String::as_str));
        }
    }
    found
}

/// Groups packages so that no group depends on itself: Nix knows no circles.
pub fn units(packages: &BTreeMap<String, Package>) -> BTreeMap<String, Unit> {
    let mut graph = DiGraphMap::<&str, ()>::new();
    for (name, package) in packages {
        graph.add_node(name);
        for dependency in package
            .depends
            .iter()
            .filter(|name| packages.contains_key(*name))
        {
            graph.add_edge(name, dependency, ());
        }
    }
    let groups: Vec<Vec<&str>> = tarjan_scc(&graph)
        .into_iter()
        .map(|mut group| {
            group.sort_unstable();
            group
        })
        .collect();
    let unit_of: BTreeMap<&str, &str> = groups
        .iter()
        .flat_map(|group| group.iter().map(|name| (*name, unit_name(group))))
        .collect();
    groups
        .iter()
        .map(|group| {
            let own = unit_name(group);
            let depends: BTreeSet<String> = group
                .iter()
                .flat_map(|name| &packages[*name].depends)
                .filter_map(|dependency| unit_of.get(dependency.as_str()))
                .filter(|unit| **unit != own)
                .map(|unit| (*unit).to_owned())
                .collect();
            let unit = Unit {
                debs: group.iter().map(|name| (*name).to_owned()).collect(),
                depends: depends.into_iter().collect(),
            };
            (own.to_owned(), unit)
        })
        .collect()
}

/// A circle is called after its first member that is not mere data.
fn unit_name<'a>(group: &[&'a str]) -> &'a str {
    group
        .iter()
        .find(|name| !name.ends_with("-base"))
        .unwrap_or(&group[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(depends: &[&str]) -> Package {
        Package {
            depends: depends.iter().map(|name| (*name).to_owned()).collect(),
            ..Package::default()
        }
    }

    #[test]
    fn circles_become_one_unit_and_others_stay_apart() {
        let packages = BTreeMap::from([
            ("curl".to_owned(), package(&["libc6"])),
            ("gcc-12-base".to_owned(), package(&[])),
            ("libc6".to_owned(), package(&["libgcc-s1"])),
            ("libgcc-s1".to_owned(), package(&["libc6", "gcc-12-base"])),
        ]);
        let units = units(&packages);
        assert_eq!(
            units.keys().collect::<Vec<_>>(),
            ["curl", "gcc-12-base", "libc6"]
        );
        assert_eq!(units["libc6"].debs, ["libc6", "libgcc-s1"]);
        assert_eq!(units["libc6"].depends, ["gcc-12-base"]);
        assert_eq!(units["curl"].depends, ["libc6"]);
    }

    #[test]
    fn a_closure_holds_what_its_roots_need() {
        let packages = BTreeMap::from([
            ("a".to_owned(), package(&["b"])),
            ("b".to_owned(), package(&["a"])),
            ("c".to_owned(), package(&[])),
        ]);
        let found = closure(&packages, &["a".to_owned()]);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a", "b"]);
    }
}
