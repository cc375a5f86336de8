//! The Nix store, as far as files are added to it by their hash.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::apt;
use super::index::{StoreFile, Stored};
use super::package::Package;
use super::suite::Apt;
use super::tool::{Error, output};
use crate::nix_cli::Nix;

/// Adds files to the store.
pub(super) struct NixStore<'a> {
    pub nix: &'a Nix,
}

impl NixStore<'_> {
    /// The packages in the store; those in `known` are not fetched again.
    pub fn add_debs(
        &self,
        apt: &Apt,
        packages: &BTreeMap<String, Package>,
        known: BTreeMap<String, Stored>,
        work: &Path,
        progress: &dyn Fn(&str),
    ) -> Result<BTreeMap<String, Stored>, Error> {
        let mut debs: BTreeMap<String, Stored> = known
            .into_iter()
            .filter(|(name, stored)| {
                packages
                    .get(name)
                    .is_some_and(|package| package.sha256 == stored.file.sha256)
                    && stored.file.path.exists()
            })
            .collect();
        let missing: Vec<(&String, &Package)> = packages
            .iter()
            .filter(|(name, _)| !debs.contains_key(*name))
            .collect();
        if missing.is_empty() {
            return Ok(debs);
        }
        progress(&format!("downloading {} packages with apt", missing.len()));
        let versions: Vec<(&str, &str)> = missing
            .iter()
            .map(|(name, package)| (name.as_str(), package.version.as_str()))
            .collect();
        let mut renamed = Vec::new();
        for (file, (name, version)) in apt::download(apt, work, &versions)?.iter().zip(&versions) {
            let target = work.join(store_name(&format!("{name}_{version}.deb")));
            fs::rename(file, &target).map_err(|error| Error::file(&target, error))?;
            renamed.push(target);
        }
        let added = output(
            self.nix
                .command("nix-store")
                .args(["--add-fixed", "sha256"])
                .args(&renamed),
        )?;
        for ((path, target), (name, package)) in added.lines().zip(&renamed).zip(missing) {
            let stored = Stored {
                version: package.version.clone(),
                file: StoreFile {
                    name: file_name(target),
                    sha256: package.sha256.clone(),
                    path: PathBuf::from(path),
                },
            };
            debs.insert(name.clone(), stored);
        }
        Ok(debs)
    }

    /// The one program that runs before anything is built.
    pub fn add_busybox(
        &self,
        debs: &BTreeMap<String, Stored>,
        work: &Path,
    ) -> Result<StoreFile, Error> {
        let package = "busybox-static";
        let deb = debs
            .get(package)
            .ok_or_else(|| Error::NotFound(package.to_owned()))?;
        let unpacked = work.join("busybox-unpacked");
        output(
            Command::new("dpkg-deb")
                .arg("-x")
                .arg(&deb.file.path)
                .arg(&unpacked),
        )?;
        let program = ["usr/bin/busybox", "bin/busybox"]
            .iter()
            .map(|path| unpacked.join(path))
            .find(|path| path.is_file())
            .ok_or_else(|| Error::NotFound(package.to_owned()))?;
        // It tells by its own name which program it is to be: a store path
        // would mislead it.
        let tree = work.join("busybox");
        let bin = tree.join("bin");
        fs::create_dir_all(&bin).map_err(|error| Error::file(&bin, error))?;
        fs::copy(&program, bin.join("busybox")).map_err(|error| Error::file(&bin, error))?;
        self.add_tree(&tree)
    }

    /// Adds a folder.
    pub fn add_tree(&self, folder: &Path) -> Result<StoreFile, Error> {
        let added = output(
            self.nix
                .command("nix-store")
                .args(["--add-fixed", "--recursive", "sha256"])
                .arg(folder),
        )?;
        let path = added.trim();
        let hash = output(
            self.nix
                .command("nix-store")
                .args(["--query", "--hash", path]),
        )?;
        Ok(StoreFile {
            name: file_name(folder),
            sha256: hash.trim().trim_start_matches("sha256:").to_owned(),
            path: PathBuf::from(path),
        })
    }

    /// Keeps files from Nix's garbage collector, by roots in a folder of their own.
    pub fn protect<'f>(
        &self,
        files: impl Iterator<Item = &'f Path>,
        roots: &Path,
    ) -> Result<(), Error> {
        // The old index may have had more files; its roots must not stay.
        if roots.exists() {
            fs::remove_dir_all(roots).map_err(|error| Error::file(roots, error))?;
        }
        fs::create_dir(roots).map_err(|error| Error::file(roots, error))?;
        output(
            self.nix
                .command("nix-store")
                .arg("--realise")
                .args(files)
                .arg("--add-root")
                .arg(roots.join("root"))
                .arg("--indirect"),
        )?;
        Ok(())
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// A store path's name takes fewer characters than a file's.
fn store_name(file: &str) -> String {
    file.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "+-._?=".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::store_name;

    #[test]
    fn store_names_hold_only_what_nix_allows() {
        assert_eq!(
            store_name("mount_2.38.1-5+deb12u3~bpo:1.deb"),
            "mount_2.38.1-5+deb12u3-bpo-1.deb"
        );
    }
}
