//! Asks apt: which versions go together, what they need, and for the files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::package::{Package, bare_name, fields};
use super::suite::Apt;
use super::tool::{Error, output};

/// The packages that installing `wanted` on an empty machine would bring, but
/// for those `left_out` and what only they need.
///
/// # Errors
/// Returns an error if apt is missing or finds no solution; its own message is passed on.
pub fn resolve(
    apt: &Apt,
    wanted: &BTreeSet<String>,
    left_out: &[String],
) -> Result<BTreeMap<String, Package>, Error> {
    let state = tempfile::tempdir().map_err(Error::temporary)?;
    let status = state.path().join("status");
    let absent: Vec<&String> = left_out
        .iter()
        .filter(|name| !wanted.contains(*name) && !is_part_of_wanted(wanted, name))
        .collect();
    let versions = versions_in_suite(apt, &absent)?;
    let pretended: String = absent
        .iter()
        .map(|name| {
            let version = versions.get(*name).map_or(OF_NO_SUITE, String::as_str);
            installed_stanza(name, version, apt.architecture())
        })
        .collect();
    fs::write(&status, pretended).map_err(|error| Error::file(&status, error))?;

    let simulated = output(
        apt.command("apt-get")
            .arg("-o")
            .arg(format!("Dir::State::status={}", status.display()))
            .arg("-o")
            .arg(format!(
                "Dir::State::extended_states={}",
                state.path().join("extended").display()
            ))
            .args(["-o", "APT::Install-Recommends=false"])
            .args(["-o", "Debug::NoLocking=1", "--simulate", "install"])
            .args(wanted),
    )?;
    let versions = planned_versions(&simulated);
    let shown = output(
        apt.command("apt-cache").arg("show").args(
            versions
                .iter()
                .map(|(name, version)| format!("{name}={version}")),
        ),
    )?;
    Ok(packages(&versions, &shown))
}

/// The package of the kernel that the package `meta` depends on.
///
/// # Errors
/// Returns an error if `meta` is not among the packages or names none.
pub fn kernel_of(packages: &BTreeMap<String, Package>, meta: &str) -> Result<String, Error> {
    packages
        .get(meta)
        .and_then(|package| {
            package
                .depends
                .iter()
                .find(|name| name.starts_with("linux-image-"))
        })
        .cloned()
        .ok_or_else(|| Error::NotFound(meta.to_owned()))
}

/// The names of all packages that apt knows, a line each.
///
/// # Errors
/// Returns an error if apt is missing or fails.
pub fn all_names(apt: &Apt) -> Result<String, Error> {
    output(apt.command("apt-cache").arg("pkgnames"))
}

/// Downloads packages into `folder`; returns their files in the same order.
///
/// # Errors
/// Returns an error if apt fails or a file is not where it says.
pub fn download(
    apt: &Apt,
    folder: &Path,
    packages: &[(&str, &str)],
) -> Result<Vec<PathBuf>, Error> {
    output(
        apt.command("apt-get")
            .current_dir(folder)
            // The sandbox user could not write into a private folder.
            .args(["-o", "APT::Sandbox::User=root", "-qq", "download"])
            .args(
                packages
                    .iter()
                    .map(|(name, version)| format!("{name}={version}")),
            ),
    )?;
    let entries: Vec<PathBuf> = fs::read_dir(folder)
        .and_then(|entries| {
            entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect()
        })
        .map_err(|error| Error::file(folder, error))?;
    packages
        .iter()
        .map(|(name, version)| {
            let prefix = format!("{name}_{}_", version.replace(':', "%3a"));
            entries
                .iter()
                .find(|path| {
                    path.file_name()
                        .and_then(|file| file.to_str())
                        .is_some_and(|file| file.starts_with(&prefix))
                })
                .cloned()
                .ok_or_else(|| Error::NotDownloaded((*name).to_owned()))
        })
        .collect()
}

/// Whether Debian asks for a package in the very version of a wanted one, which the pretended one does not have.
fn is_part_of_wanted(wanted: &BTreeSet<String>, name: &str) -> bool {
    name == "perl-base" && wanted.contains("perl")
}

/// The version of a pretended package that the suite does not have.
const OF_NO_SUITE: &str = "999:1";

/// The versions that the suite has of these packages, whatever the machine has: others ask for no newer one.
fn versions_in_suite(apt: &Apt, names: &[&String]) -> Result<BTreeMap<String, String>, Error> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let shown = output(
        apt.command("apt-cache")
            .args(["-o", "Dir::State::status=/dev/null"])
            .args(["show", "--no-all-versions"])
            .args(names),
    )?;
    let versions = shown.split("\n\n").filter_map(|stanza| {
        let stanza: BTreeMap<&str, &str> = fields(stanza).collect();
        Some((
            stanza.get("Package")?.to_string(),
            stanza.get("Version")?.to_string(),
        ))
    });
    Ok(versions.collect())
}

fn installed_stanza(name: &str, version: &str, architecture: &str) -> String {
    format!(
        "Package: {name}\nStatus: install ok installed\nVersion: {version}\nArchitecture: {architecture}\n\
         Multi-Arch: allowed\nMaintainer: none\nDescription: left out\n\n"
    )
}

/// The lines `Inst NAME (VERSION …` of a simulated installation.
fn planned_versions(simulated: &str) -> BTreeMap<String, String> {
    simulated
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
            let version = rest.split_once('(')?.1.split_whitespace().next()?;
            Some((name.to_owned(), version.to_owned()))
        })
        .collect()
}

/// Reads `apt-cache show`, keeping of the dependencies those in the set.
fn packages(versions: &BTreeMap<String, String>, shown: &str) -> BTreeMap<String, Package> {
    let stanzas: Vec<BTreeMap<&str, &str>> = shown
        .split("\n\n")
        .map(|stanza| fields(stanza).collect())
        .collect();
    let mut providers: BTreeMap<&str, &str> = BTreeMap::new();
    for stanza in &stanzas {
        for provided in stanza.get("Provides").unwrap_or(&"").split(',') {
            if let (Some(name), Some(package)) = (bare_name(provided), stanza.get("Package")) {
                providers.entry(name).or_insert(package);
            }
        }
    }
    let resolve_one = |alternatives: &str| {
        alternatives
            .split('|')
            .filter_map(bare_name)
            .find_map(|name| {
                if versions.contains_key(name) {
                    Some(name.to_owned())
                } else {
                    providers.get(name).map(|package| (*package).to_owned())
                }
            })
    };
    stanzas
        .iter()
        .filter_map(|stanza| {
            let name = *stanza.get("Package")?;
            if versions.get(name).map(String::as_str) != stanza.get("Version").copied() {
                return None;
            }
            let depends = ["Pre-Depends", "Depends"]
                .iter()
                .flat_map(|field| stanza.get(field).unwrap_or(&"").split(','))
                .filter_map(resolve_one)
                .filter(|dependency| dependency != name)
                .collect();
            let package = Package {
                version: (*stanza.get("Version")?).to_owned(),
                sha256: (*stanza.get("SHA256")?).to_owned(),
                depends,
            };
            Some((name.to_owned(), package))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_apt_would_install() {
        let simulated = "NOTE: This is only a simulation!\n\
            Inst libc6 (2.36-9+deb12u14 Debian:12.13/oldstable [amd64])\n\
            Inst curl (7.88.1-10 Debian:12 [amd64]) []\nConf curl (7.88.1-10)\n";
        let versions = planned_versions(simulated);
        assert_eq!(versions["libc6"], "2.36-9+deb12u14");
        assert_eq!(versions["curl"], "7.88.1-10");
        assert_eq!(versions.len(), 2);
    }

    #[test]
    fn dependencies_are_those_of_the_set_through_alternatives_and_provides() {
        let versions = BTreeMap::from([
            ("a".to_owned(), "1".to_owned()),
            ("b".to_owned(), "2".to_owned()),
            ("awk-b".to_owned(), "3".to_owned()),
        ]);
        let shown = "Package: a\nVersion: 1\nDepends: b (>= 2) | x, awk, gone\nSHA256: aa\n\n\
            Package: b\nVersion: 2\nSHA256: bb\n\n\
            Package: awk-b\nVersion: 3\nProvides: awk (= 1)\nSHA256: cc\n\n\
            Package: b\nVersion: 9\nSHA256: dd\n";
        let packages = packages(&versions, shown);
        let depends: Vec<_> = packages["a"].depends.iter().collect();
        assert_eq!(depends, ["awk-b", "b"]);
        assert_eq!(packages["b"].sha256, "bb");
    }
}
