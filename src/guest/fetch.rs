//! Brings the packages of the built-in guests into the Nix store and writes their index.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};

use super::apt::{self, Package};
use super::index::{Index, StoreFile, Stored, WantedPackages, closure, units};
use super::npm;
use super::suite::{Apt, OWN};
use super::tool::{Error, output};
use crate::folders;
use crate::nix_cli::Nix;

const INDEX_VERSION: u32 = 1;

/// The path of the index: `$XDG_DATA_HOME/snowglobe/guest-index.json`.
///
/// # Errors
/// When the environment names no home.
pub fn index_path() -> Result<PathBuf, Error> {
    let data = folders::own(folders::UserFolder::Data).ok_or(Error::NoHome)?;
    Ok(data.join("guest-index.json"))
}

/// What the user asks for beyond the guests' own packages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchRequest {
    /// Debian packages.
    pub packages: Vec<String>,
    /// A suite of Debian, or `own`; None for that of the last fetch.
    pub suite: Option<String>,
}

impl FetchRequest {
    /// The suite to take packages from, after the fetch of an index.
    fn suite_after(&self, index: Option<&Index>) -> Option<String> {
        match self.suite.as_deref() {
            Some(OWN) => None,
            Some(suite) => Some(suite.to_owned()),
            None => index.and_then(|index| index.suite.clone()),
        }
    }
}

/// Whether everything that `wanted_json` and `request` name is in the store already.
///
/// # Errors
/// When the environment names no home.
pub fn is_complete(wanted_json: &str, request: &FetchRequest) -> Result<bool, Error> {
    let wanted = parse(wanted_json);
    let requested = &request.packages;
    Ok(read_index(&index_path()?).is_some_and(|index| {
        let stored = index.debs.values().chain(index.npm.values());
        index.version == INDEX_VERSION
            && index.wanted == wanted
            && request.suite_after(Some(&index)) == index.suite
            && requested.iter().all(|name| index.requested.contains(name))
            && stored
                .map(|stored| &stored.file)
                .chain([&index.busybox])
                .all(|file| file.path.exists())
    }))
}

fn parse(wanted_json: &str) -> WantedPackages {
    serde_json::from_str(wanted_json).expect("packages.json is part of the program")
}

/// Fetches everything that `wanted_json` (the text of `packages.json`) and
/// `request` name, and what they need; tells each step to `progress`.
/// Packages that an earlier call was asked for stay.
///
/// # Errors
/// When apt, npm or Nix fails. The old index then stays as it was.
pub fn fetch(
    nix: &Nix,
    wanted_json: &str,
    request: &FetchRequest,
    progress: &dyn Fn(&str),
) -> Result<Index, Error> {
    let target = index_path()?;
    let folder = target.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(|error| Error::file(folder, error))?;
    let _lock = lock(&folder.join("guest-index.lock"))?;

    let wanted = parse(wanted_json);
    let mut requested: BTreeSet<String> = request.packages.iter().cloned().collect();
    let old = read_index(&target);
    let suite = request.suite_after(old.as_ref());
    let apt = Apt::of_suite(suite.as_deref(), progress)?;
    if let Some(old) = &old {
        requested.extend(old.requested.iter().cloned());
    }
    let names: BTreeSet<String> = [&wanted.root, &wanted.tools, &wanted.extra]
        .into_iter()
        .flatten()
        .chain([&wanted.kernel])
        .chain(&requested)
        .cloned()
        .collect();

    progress("asking apt which packages go together");
    let mut packages = apt::resolve(&apt, &names, &wanted.left_out)?;
    let kernel = kernel_of(&packages, &wanted.kernel)?;
    let root = closure(&packages, &wanted.root);
    let store = NixStore { nix };
    let work = tempfile::tempdir().map_err(Error::temporary)?;
    let known = old.map(|old| old.debs).unwrap_or_default();
    let debs = store.add_debs(&apt, &packages, known, work.path(), progress)?;
    let busybox = store.add_busybox(&debs, work.path())?;
    let npm = wanted
        .npm
        .iter()
        .map(|(name, package)| {
            progress(&format!("fetching {package} with npm"));
            let (unpacked, version) = npm::fetch(work.path(), name, package)?;
            let file = store.add_tree(&unpacked)?;
            Ok((name.clone(), Stored { version, file }))
        })
        .collect::<Result<BTreeMap<_, _>, Error>>()?;

    // The kernel's package is unpacked on its own, and its tools are left out.
    packages.retain(|name, _| name != &wanted.kernel && name != &kernel);
    let index = Index {
        version: INDEX_VERSION,
        wanted,
        suite,
        requested,
        root: root.into_iter().collect(),
        kernel,
        busybox,
        units: units(&packages),
        debs,
        npm,
    };
    store.protect(&index, folder)?;
    write_index(&target, &index)?;
    Ok(index)
}

fn kernel_of(packages: &BTreeMap<String, Package>, meta: &str) -> Result<String, Error> {
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

fn lock(path: &Path) -> Result<Flock<File>, Error> {
    let file = File::create(path).map_err(|error| Error::file(path, error))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| Error::file(path, io::Error::from(errno)))
}

pub(super) fn read_index(path: &Path) -> Option<Index> {
    let text = fs::read_to_string(path).ok()?;
    serde_json::from_str(&text).ok()
}

fn write_index(path: &Path, index: &Index) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut file =
        tempfile::NamedTempFile::new_in(folder).map_err(|error| Error::file(folder, error))?;
    let text = serde_json::to_string_pretty(index).expect("an index is plain data");
    file.write_all(text.as_bytes())
        .map_err(|error| Error::file(path, error))?;
    file.persist(path)
        .map_err(|error| Error::file(path, error.error))?;
    Ok(())
}

/// The Nix store, as far as files are added to it by their hash.
pub(super) struct NixStore<'a> {
    pub nix: &'a Nix,
}

impl NixStore<'_> {
    /// The packages in the store; those in `known` are not fetched again.
    fn add_debs(
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
    fn add_busybox(
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

    /// Keeps the files from Nix's garbage collector.
    fn protect(&self, index: &Index, folder: &Path) -> Result<(), Error> {
        let roots = folder.join("guest-roots");
        // The old index may have had more files; its roots must not stay.
        if roots.exists() {
            fs::remove_dir_all(&roots).map_err(|error| Error::file(&roots, error))?;
        }
        fs::create_dir(&roots).map_err(|error| Error::file(&roots, error))?;
        let stored = index.debs.values().chain(index.npm.values());
        output(
            self.nix
                .command("nix-store")
                .arg("--realise")
                .args(stored.map(|stored| &stored.file.path))
                .arg(&index.busybox.path)
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
