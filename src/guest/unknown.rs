//! Packages of nixpkgs that Debian does not have: which, who needs them, and what to do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::nix_cli::{Derivation, name_of};

/// Folders of crates: cargo's registry has these, and Nix downloads them from there.
const CRATES: &str = "cargo-vendor-dir";

/// A package of nixpkgs that is built from its source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnknownPackage {
    /// Its name, with the version.
    pub(super) name: String,
    /// The file that is to be downloaded for it.
    source: String,
    /// The chain of packages that need it, from the package to the test.
    needed_by: Vec<String>,
}

/// For each derivation one that needs it.
pub(super) fn users_of(derivations: &BTreeMap<PathBuf, Derivation>) -> BTreeMap<&Path, &Path> {
    let mut users = BTreeMap::new();
    for (path, derivation) in derivations {
        for input in &derivation.inputs {
            users.entry(input.as_path()).or_insert(path.as_path());
        }
    }
    users
}

/// The package whose source is fetched, and the way from it to the test; None for a crate.
pub(super) fn unknown_package(
    source: &Path,
    users: &BTreeMap<&Path, &Path>,
) -> Option<UnknownPackage> {
    let mut way: Vec<String> = Vec::new();
    let mut place = source;
    while let Some(user) = users.get(place) {
        way.push(name_of(user).to_owned());
        place = user;
    }
    if way.iter().any(|name| name == CRATES) {
        return None;
    }
    let mut way = way.into_iter();
    let name = way.next()?;
    Some(UnknownPackage {
        name,
        source: name_of(source).to_owned(),
        needed_by: way.collect(),
    })
}

impl UnknownPackage {
    fn describe(&self) -> String {
        let Self {
            name,
            source,
            needed_by,
        } = self;
        if needed_by.is_empty() {
            format!("\n  {name} (from {source})")
        } else {
            let way = needed_by.join(" < ");
            format!("\n  {name} (from {source}), needed by {way}")
        }
    }

    /// Its name in the table: that in nixpkgs, without the version; `python3-NAME` for a module of Python.
    fn table_name(&self) -> String {
        let (name, _) = name_and_version(&self.name);
        let module = name
            .strip_prefix("python3.")
            .and_then(|rest| rest.split_once('-'));
        module.map_or_else(
            || name.to_owned(),
            |(_, module)| format!("python3-{module}"),
        )
    }
}

/// `nginx` and `1.28.0`, if the name of a package has a version.
pub(super) fn name_and_version(name: &str) -> (&str, Option<&str>) {
    let is_version = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    name.match_indices('-')
        .map(|(index, _)| (&name[..index], &name[index + 1..]))
        .find(|(_, rest)| is_version(rest))
        .map_or((name, None), |(name, version)| (name, Some(version)))
}

/// Names each package, and the line that a table lacks.
#[must_use]
pub fn describe_unknown(packages: &[UnknownPackage]) -> String {
    let list: String = packages.iter().map(UnknownPackage::describe).collect();
    let example = packages
        .first()
        .map_or("NAME".to_owned(), UnknownPackage::table_name);
    format!(
        "these packages have no entry in the table of Debian's packages, Debian has none of their names, and they would be built from their sources:{list}\n\
         Name a Debian package for each in a file, and give it with --packages-table FILE:\n  \
         {{ ... }}: {{\n    {example} = [ \"DEBIAN-PACKAGE\" ];\n  }}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derivation(inputs: &[&str]) -> Derivation {
        Derivation {
            inputs: inputs.iter().map(PathBuf::from).collect(),
            ..Derivation::default()
        }
    }

    #[test]
    fn modules_of_python_have_names_of_their_own() {
        let package = UnknownPackage {
            name: "python3.13-junit-xml-1.9".to_owned(),
            source: String::new(),
            needed_by: Vec::new(),
        };
        assert_eq!(package.table_name(), "python3-junit-xml");
    }

    #[test]
    fn the_way_from_a_source_to_the_test_is_shown() {
        let below = BTreeMap::from([
            (
                "/s/a-test.drv".into(),
                derivation(&["/s/b-system-path.drv"]),
            ),
            (
                "/s/b-system-path.drv".into(),
                derivation(&["/s/c-gitea-tool-1.2.drv"]),
            ),
            (
                "/s/c-gitea-tool-1.2.drv".into(),
                derivation(&["/s/d-source.drv"]),
            ),
            ("/s/d-source.drv".into(), derivation(&[])),
        ]);
        let package = unknown_package(Path::new("/s/d-source.drv"), &users_of(&below)).unwrap();
        assert_eq!(package.table_name(), "gitea-tool");
        assert_eq!(
            package.describe(),
            "\n  gitea-tool-1.2 (from source), needed by system-path < test"
        );
    }
}
