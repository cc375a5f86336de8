//! Fetches what tests need of Debian: their evaluation names what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::archive::Archive;
use super::data_files::{lock, write_json};
use super::debian_index::{
    BasePackages, DebianIndex, SuiteFiles, VERSION, remember_suite, suite_for_tests,
};
use super::fetch::FetchRequest;
use super::index::units;
use super::older::{OlderPackage, older_packages};
use super::store::NixStore;
use super::suite::Apt;
use super::tool::Error;
use super::unknown::{UnknownPackage, unknown_package, users_of};
use crate::nix_cli::{DebianPackages, Derivation, Nix, derivations_below, name_of};

/// Names as `nix-lib/debian/debs.nix` gives them to what is not fetched.
const MISSING: (&str, &str) = ("debian-package-", "-is-not-fetched");
/// A test names packages by what others depend on, so that a few rounds do.
const MOST_ROUNDS: usize = 8;

/// The result of a fetch for tests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchedForTests {
    /// Debian's packages in the store.
    pub packages: usize,
    /// Packages that Debian does not have.
    pub unknown: Vec<UnknownPackage>,
    /// Packages that Debian has in an older version than nixpkgs.
    pub older: BTreeSet<OlderPackage>,
}

/// Fetches the packages of the request, and Debian's packages until no test needs any other.
/// `evaluate` gives the derivations of the tests with these packages.
///
/// # Errors
/// Returns an error if apt or Nix fails, or a test does not evaluate.
pub fn fetch_for<E: From<Error>>(
    nix: &Nix,
    base_json: &str,
    request: &FetchRequest,
    table: Option<&Path>,
    evaluate: impl Fn(DebianPackages) -> Result<Vec<PathBuf>, E>,
    progress: &dyn Fn(&str),
) -> Result<FetchedForTests, E> {
    let suite = suite_for_tests(request.suite.as_deref())?;
    let fetch = SuiteFetch::begin(nix, base_json, suite.as_deref(), progress)?;
    let mut wanted: BTreeSet<String> = request.packages.iter().cloned().collect();
    for _ in 0..MOST_ROUNDS {
        let index = fetch.bring(&wanted)?;
        remember_suite(suite.as_deref())?;
        progress("evaluating the tests");
        let derivations = evaluate(DebianPackages {
            index: fetch.files.index(),
            names: fetch.files.names(),
            table: table.map(Path::to_owned),
        })?;
        let mut found = FetchedForTests {
            packages: index.debs.len(),
            ..FetchedForTests::default()
        };
        let mut missing = BTreeSet::new();
        // One test after another: together they may be a whole nixpkgs.
        for root in &derivations {
            let below = read_below(root)?;
            missing.extend(missing_below(&below));
            found.unknown.extend(unknown_below(&below));
            found.older.extend(older_packages(&below, &index.debs));
        }
        if missing.is_empty() {
            found.unknown.sort();
            found.unknown.dedup_by(|one, other| one.name == other.name);
            return Ok(found);
        }
        if missing.is_subset(&wanted) {
            let names = missing.into_iter().collect::<Vec<_>>().join(", ");
            return Err(Error::NotFound(names).into());
        }
        wanted.extend(missing);
    }
    Err(Error::NoEnd(MOST_ROUNDS).into())
}

/// The packages that the derivations need and that are not fetched.
///
/// # Errors
/// Returns an error if a derivation cannot be read.
pub fn missing_packages(derivations: &[PathBuf]) -> Result<BTreeSet<String>, Error> {
    let mut missing = BTreeSet::new();
    for root in derivations {
        missing.extend(missing_below(&read_below(root)?));
    }
    Ok(missing)
}

fn missing_below(below: &BTreeMap<PathBuf, Derivation>) -> impl Iterator<Item = String> {
    below
        .keys()
        .filter_map(|path| missing_package(path))
        .map(str::to_owned)
}

/// The package that a derivation stands for, if it is not fetched.
fn missing_package(derivation: &Path) -> Option<&str> {
    let name = name_of(derivation).strip_prefix(MISSING.0)?;
    name.strip_suffix(MISSING.1)
}

/// The packages whose sources are not there.
fn unknown_below(below: &BTreeMap<PathBuf, Derivation>) -> Vec<UnknownPackage> {
    let users = users_of(below);
    let is_there = |derivation: &Derivation| derivation.outputs.iter().all(|path| path.exists());
    below
        .iter()
        .filter(|(_, derivation)| derivation.is_fetched && !is_there(derivation))
        .filter_map(|(path, _)| unknown_package(path, &users))
        .collect()
}

fn read_below(root: &Path) -> Result<BTreeMap<PathBuf, Derivation>, Error> {
    derivations_below(root).map_err(|error| Error::file(root, error))
}

/// One suite, whose lists are read.
struct SuiteFetch<'a> {
    store: NixStore<'a>,
    apt: Apt,
    archive: Archive,
    base: BasePackages,
    files: SuiteFiles,
    progress: &'a dyn Fn(&str),
}

impl<'a> SuiteFetch<'a> {
    fn begin(
        nix: &'a Nix,
        base_json: &str,
        suite: Option<&str>,
        progress: &'a dyn Fn(&str),
    ) -> Result<Self, Error> {
        let files = SuiteFiles::of(suite)?;
        std::fs::create_dir_all(&files.folder)
            .map_err(|error| Error::file(&files.folder, error))?;
        let apt = Apt::of_suite(suite, progress)?;
        let archive = Archive::read(&apt)?;
        Ok(Self {
            store: NixStore { nix },
            apt,
            archive,
            base: serde_json::from_str(base_json).expect("packages.json is part of the program"),
            files,
            progress,
        })
    }

    /// Has the base, what earlier tests have asked for and `more` in the store, and writes the index.
    fn bring(&self, more: &BTreeSet<String>) -> Result<DebianIndex, Error> {
        let _lock = lock(&self.files.folder.join("debian-index.lock"))?;
        let old = self.files.read();
        let mut requested: BTreeSet<String> = more.clone();
        let mut known = BTreeMap::new();
        if let Some(old) = &old {
            requested.extend(old.requested.iter().cloned());
            known.clone_from(&old.debs);
        }
        let wanted: BTreeSet<String> = requested.union(&self.base.base).cloned().collect();
        let packages = self.archive.closure(&wanted, &self.base.left_out)?;
        let work = tempfile::tempdir().map_err(Error::temporary)?;
        let debs = self
            .store
            .add_debs(&self.apt, &packages, known, work.path(), self.progress)?;
        let index = DebianIndex {
            version: VERSION,
            requested,
            busybox: self.store.add_busybox(&debs, work.path())?,
            units: units(&packages),
            debs,
        };
        if old.as_ref() != Some(&index) {
            let files = index.debs.values().map(|stored| stored.file.path.as_path());
            let files = files.chain([index.busybox.path.as_path()]);
            self.store.protect(files, &self.files.roots())?;
            write_json(&self.files.names(), &self.archive.versions())?;
            write_json(&self.files.index(), &index)?;
        }
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_not_fetched_is_found_below_a_test() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str, inputs: &[&str]| {
            let inputs: Vec<String> = inputs
                .iter()
                .map(|input| format!("(\"{}\",[\"out\"])", path(input).display()))
                .collect();
            let text = format!(
                "Derive([(\"out\",\"/x\",\"\",\"\")],[{}],[],\"x\",\"x\",[],[])",
                inputs.join(",")
            );
            fs::write(path(name), text).unwrap();
        };
        write("a-test.drv", &["b-system.drv"]);
        write(
            "b-system.drv",
            &["c-debian-package-sl-is-not-fetched.drv", "d-debian-sl.drv"],
        );
        write("c-debian-package-sl-is-not-fetched.drv", &[]);
        write("d-debian-sl.drv", &[]);
        let missing = missing_packages(&[path("a-test.drv")]).unwrap();
        assert_eq!(missing.into_iter().collect::<Vec<_>>(), ["sl"]);

        fs::write(path("d-debian-sl.drv"), "half a der").unwrap();
        assert!(missing_packages(&[path("a-test.drv")]).is_err());
    }
}
