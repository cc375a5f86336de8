//! Brings the packages of the built-in guests into the Nix store and writes their index.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::apt;
use super::data_files::{data_folder, lock, read_json, write_json};
use super::index::{Index, Stored, WantedPackages, closure, units};
use super::npm;
use super::package::Package;
use super::store::NixStore;
use super::suite::{Apt, meant_suite};
use super::tool::Error;
use crate::nix_cli::{Nix, names_beside};

const INDEX_VERSION: u32 = 1;

/// The path of the index: `$XDG_DATA_HOME/snowglobe/guest-index.json`.
///
/// # Errors
/// Returns an error if the environment names no home.
pub fn index_path() -> Result<PathBuf, Error> {
    Ok(data_folder()?.join("guest-index.json"))
}

/// Packages that the user asks for beyond those of the guests.
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
        let last = index.and_then(|index| index.suite.clone());
        meant_suite(self.suite.as_deref(), last)
    }
}

/// Whether everything that `wanted_json` and `request` name is in the store already.
///
/// # Errors
/// Returns an error if the environment names no home.
pub fn is_complete(wanted_json: &str, request: &FetchRequest) -> Result<bool, Error> {
    let wanted = parse(wanted_json);
    let requested = &request.packages;
    Ok(read_json::<Index>(&index_path()?).is_some_and(|index| {
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
/// Returns an error if apt, npm or Nix fails. The old index then stays as it was.
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
    let old: Option<Index> = read_json(&target);
    let suite = request.suite_after(old.as_ref());
    let apt = Apt::of_suite(suite.as_deref(), progress)?;
    if let Some(old) = &old {
        requested.extend(old.requested.iter().cloned());
    }
    let is_of_debian = |name: &&String| !wanted.npm_on_request.contains_key(*name);
    let names: BTreeSet<String> = [&wanted.root, &wanted.tools, &wanted.extra]
        .into_iter()
        .flatten()
        .chain([&wanted.kernel])
        .chain(requested.iter().filter(is_of_debian))
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
    let on_request = wanted.npm_on_request.iter();
    let npm = wanted
        .npm
        .iter()
        .chain(on_request.filter(|(name, _)| requested.contains(*name)))
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
    let stored = index.debs.values().chain(index.npm.values());
    let files = stored.map(|stored| stored.file.path.as_path());
    store.protect(
        files.chain([index.busybox.path.as_path()]),
        &folder.join("guest-roots"),
    )?;
    let names = names_beside(&target);
    fs::write(&names, apt::all_names(&apt)?).map_err(|error| Error::file(&names, error))?;
    write_json(&target, &index)?;
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
