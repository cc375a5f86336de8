//! Packages that Debian has in an older version than nixpkgs, whose modules may want the newer one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use debversion::Version;

use super::index::Stored;
use super::unknown::name_and_version;
use crate::nix_cli::{Derivation, name_of};

/// A package of both, under one name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OlderPackage {
    name: String,
    in_nixpkgs: String,
    in_debian: String,
}

impl fmt::Display for OlderPackage {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            in_nixpkgs,
            in_debian,
        } = self;
        write!(to, "{name} {in_debian} ({in_nixpkgs} in nixpkgs)")
    }
}

/// The packages among the derivations that are made of the Debian package of their name, in an older version.
pub(super) fn older_packages(
    derivations: &BTreeMap<PathBuf, Derivation>,
    debs: &BTreeMap<String, Stored>,
) -> BTreeSet<OlderPackage> {
    derivations
        .iter()
        .filter_map(|(path, derivation)| {
            let (name, version) = name_and_version(name_of(path));
            let version = version.filter(|version| is_of_numbers(version))?;
            let unit = format!("debian-{name}");
            let is_made_of_it = derivation.inputs.iter().any(|input| name_of(input) == unit);
            let in_debian = &debs.get(name)?.version;
            (is_made_of_it && is_older(in_debian, version)).then(|| OlderPackage {
                name: name.to_owned(),
                in_nixpkgs: version.to_owned(),
                in_debian: in_debian.clone(),
            })
        })
        .collect()
}

fn is_of_numbers(version: &str) -> bool {
    version.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// Whether what Debian has is older, whatever Debian itself has changed in it.
fn is_older(in_debian: &str, in_nixpkgs: &str) -> bool {
    let upstream = |text: &str| {
        let version: Version = text.parse().ok()?;
        version.upstream_version.parse::<Version>().ok()
    };
    match (upstream(in_debian), upstream(in_nixpkgs)) {
        (Some(debian), Some(nixpkgs)) => debian < nixpkgs,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::index::StoreFile;

    #[test]
    fn only_what_is_older_and_of_the_same_name_counts() {
        let stored = |version: &str| Stored {
            version: version.to_owned(),
            file: StoreFile {
                name: String::new(),
                sha256: String::new(),
                path: PathBuf::new(),
            },
        };
        let debs = BTreeMap::from([
            ("nginx".to_owned(), stored("1:1.26.3-3+b1")),
            ("haproxy".to_owned(), stored("3.0.1-1")),
            ("redis".to_owned(), stored("1.0-1")),
        ]);
        let made_of = |unit: &str| Derivation {
            inputs: BTreeSet::from([PathBuf::from(format!("/s/a-{unit}"))]),
            ..Derivation::default()
        };
        let derivations = BTreeMap::from([
            ("/s/a-nginx-1.28.0.drv".into(), made_of("debian-nginx.drv")),
            (
                "/s/b-haproxy-3.0.1.drv".into(),
                made_of("debian-haproxy.drv"),
            ),
            (
                "/s/c-redis-8.0.drv".into(),
                made_of("debian-redis-server.drv"),
            ),
            ("/s/d-nginx.conf.drv".into(), made_of("debian-nginx.drv")),
        ]);
        let older: Vec<String> = older_packages(&derivations, &debs)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(older, ["nginx 1:1.26.3-3+b1 (1.28.0 in nixpkgs)"]);
    }
}
