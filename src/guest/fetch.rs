//! Brings the packages of the built-in guests into the Nix store and writes their index.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::apt;
use super::data_files::{data_folder, lock, read_json, write_json};
use super::foreign::{fetch_foreign, wanted_of};
use super::index::{Index, Stored, WantedPackages, closure, units};
use super::npm;
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

/// A request of the user, beyond the guests of the machine's own system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchRequest {
    /// Debian packages.
    pub packages: Vec<String>,
    /// A suite of Debian, or `own`; None for that of the last fetch.
    pub suite: Option<String>,
    /// The system that the guests and packages are for, such as `aarch64-linux`; None for the machine's own.
    pub system: Option<String>,
}

impl FetchRequest {
    /// The suite to take packages from, after the fetch of an index.
    fn suite_after(&self, index: Option<&Index>) -> Option<String> {
        let last = index.and_then(|index| index.suite.clone());
        meant_suite(self.suite.as_deref(), last)
    }

    /// The packages for guests of a system; None is the machine's own.
    fn packages_for(&self, system: Option<&str>) -> &[String] {
        if self.system.as_deref() == system {
            &self.packages
        } else {
            &[]
        }
    }
}

/// Whether everything that `wanted_json` and `request` name is in the store already.
///
/// # Errors
/// Returns an error if the environment names no home, or there are no guests of the system.
pub fn is_complete(wanted_json: &str, request: &FetchRequest) -> Result<bool, Error> {
    let wanted = parse(wanted_json);
    let Some(index) = read_json::<Index>(&index_path()?) else {
        return Ok(false);
    };
    Ok(has_own(&index, &wanted, request) && has_foreign(&index, &wanted, request)?)
}

fn has_own(index: &Index, wanted: &WantedPackages, request: &FetchRequest) -> bool {
    let mut requested = request.packages_for(None).iter();
    index.version == INDEX_VERSION
        && index.wanted == *wanted
        && request.suite_after(Some(index)) == index.suite
        && requested.all(|name| index.requested.contains(name))
        && index.own_files().all(Path::exists)
}

fn has_foreign(
    index: &Index,
    wanted: &WantedPackages,
    request: &FetchRequest,
) -> Result<bool, Error> {
    let Some(system) = &request.system else {
        return Ok(true);
    };
    let wanted = wanted_of(wanted, system)?;
    let mut requested = request.packages.iter();
    Ok(index.foreign.get(system).is_some_and(|found| {
        found.wanted == *wanted
            && requested.all(|name| found.requested.contains(name))
            && found.files().all(Path::exists)
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
    let store = NixStore { nix };
    let old: Option<Index> = read_json(&target);
    let mut foreign = old
        .as_ref()
        .map(|old| old.foreign.clone())
        .unwrap_or_default();
    // A request for another system leaves the machine's own guests as they are, if these are set up.
    let mut index = match old {
        Some(old) if request.system.is_some() && has_own(&old, &wanted, request) => old,
        old => {
            let suite = request.suite_after(old.as_ref());
            let apt = Apt::of_suite(suite.as_deref(), progress)?;
            let index = fetch_own(&store, &apt, suite, wanted, request, old, progress)?;
            let names = names_beside(&target);
            fs::write(&names, apt::all_names(&apt)?).map_err(|error| Error::file(&names, error))?;
            index
        }
    };
    let systems: BTreeSet<String> = match &request.system {
        Some(system) => BTreeSet::from([system.clone()]),
        None => foreign.keys().cloned().collect(),
    };
    for system in systems {
        let wanted = wanted_of(&index.wanted, &system)?;
        let found = fetch_foreign(
            &store,
            wanted,
            &index.wanted.left_out,
            request.packages_for(Some(&system)),
            index.suite.as_deref(),
            foreign.remove(&system),
            progress,
        )?;
        foreign.insert(system, found);
    }
    index.foreign = foreign;
    store.protect(index.files(), &folder.join("guest-roots"))?;
    write_json(&target, &index)?;
    Ok(index)
}

/// The machine's own guests.
fn fetch_own(
    store: &NixStore,
    apt: &Apt,
    suite: Option<String>,
    wanted: WantedPackages,
    request: &FetchRequest,
    old: Option<Index>,
    progress: &dyn Fn(&str),
) -> Result<Index, Error> {
    let mut requested: BTreeSet<String> = request.packages_for(None).iter().cloned().collect();
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
    let mut packages = apt::resolve(apt, &names, &wanted.left_out)?;
    let kernel = apt::kernel_of(&packages, &wanted.kernel)?;
    let root = closure(&packages, &wanted.root);
    let work = tempfile::tempdir().map_err(Error::temporary)?;
    let known = old.map(|old| old.debs).unwrap_or_default();
    let debs = store.add_debs(apt, &packages, known, work.path(), progress)?;
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
    Ok(Index {
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
        foreign: BTreeMap::new(),
    })
}
