//! The index of Debian's packages that stand in for nixpkgs' own (`--packages debian`): one for each suite.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::data_files::{data_folder, read_json};
use super::index::{StoreFile, Stored, Unit};
use super::suite::{OWN, meant_suite};
use super::tool::Error;
use crate::nix_cli::DebianPackages;

pub(super) const VERSION: u32 = 1;

/// The content of `nix-lib/debian/packages.json`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct BasePackages {
    /// Packages that build all others.
    pub base: BTreeSet<String>,
    /// Packages that others depend on and that no machine of NixOS needs.
    pub left_out: Vec<String>,
}

/// The index that `nix-lib/debian/debs.nix` reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DebianIndex {
    pub version: u32,
    /// Packages that tests have asked for so far.
    pub requested: BTreeSet<String>,
    pub busybox: StoreFile,
    pub debs: BTreeMap<String, Stored>,
    pub units: BTreeMap<String, Unit>,
}

/// The files of one suite.
#[derive(Debug, Clone)]
pub(super) struct SuiteFiles {
    pub folder: PathBuf,
    suite: String,
}

impl SuiteFiles {
    /// Returns the folders of a suite; `None` is the machine's own.
    pub fn of(suite: Option<&str>) -> Result<Self, Error> {
        Ok(Self {
            folder: data_folder()?,
            suite: suite.unwrap_or(OWN).to_owned(),
        })
    }

    /// Which packages are in the store.
    pub fn index(&self) -> PathBuf {
        self.folder.join(format!("debian-{}.json", self.suite))
    }

    /// The names and versions of all packages of the suite.
    pub fn names(&self) -> PathBuf {
        self.folder
            .join(format!("debian-{}-names.json", self.suite))
    }

    /// Returns the folder of the garbage collector's roots that keep the packages.
    pub fn roots(&self) -> PathBuf {
        self.folder.join(format!("debian-{}-roots", self.suite))
    }

    pub fn read(&self) -> Option<DebianIndex> {
        let index: DebianIndex = read_json(&self.index())?;
        (index.version == VERSION && self.names().exists()).then_some(index)
    }
}

/// The suite of the last fetch for a test.
fn last_suite_file() -> Result<PathBuf, Error> {
    Ok(data_folder()?.join("debian-last-suite"))
}

pub(super) fn remember_suite(suite: Option<&str>) -> Result<(), Error> {
    let file = last_suite_file()?;
    fs::write(&file, suite.unwrap_or(OWN)).map_err(|error| Error::file(&file, error))
}

/// The given suite, or that of the last fetch for a test. None is the machine's own.
pub(super) fn suite_for_tests(given: Option<&str>) -> Result<Option<String>, Error> {
    let last = fs::read_to_string(last_suite_file()?).ok();
    Ok(meant_suite(given, last))
}

/// Debian's packages for an evaluation.
///
/// # Errors
/// Returns an error if none were fetched of the suite.
pub fn debian_packages(
    suite: Option<&str>,
    table: Option<PathBuf>,
) -> Result<DebianPackages, Error> {
    let files = SuiteFiles::of(suite_for_tests(suite)?.as_deref())?;
    files.read().ok_or(Error::NoPackages)?;
    Ok(DebianPackages {
        index: files.index(),
        names: files.names(),
        table,
    })
}
