//! Builds the machines of tests, or a derivation that is none, and runs nothing.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::RunnerError;
use super::find_tests;
use super::interrupts::{Interrupts, unless_interrupted};
use super::reports::{start, stdout_lost, wait_until_shown};
use super::request::TestSelection;
use crate::folders::private_temporary_folder;
use crate::nix_cli::{self, NamedDerivation, Nix};
use crate::report::Report;

/// Builds what the selection names; returns the store paths, or None if the user interrupts. `link` becomes a link to
/// the first of them, and `link-2` to the second, which Nix' garbage collector then spares.
///
/// # Errors
/// Returns an error if the file does not evaluate or a build fails.
pub async fn build(
    selection: &TestSelection,
    link: Option<&Path>,
    display: &dyn Fn() -> Box<dyn Report>,
    interrupts: &mut Interrupts,
) -> Result<Option<Vec<PathBuf>>, RunnerError> {
    let Some(found) = find_tests::buildable(selection, interrupts).await? else {
        return Ok(None);
    };
    let work =
        private_temporary_folder().map_err(RunnerError::host("cannot make a temporary folder"))?;
    let first = link.map_or_else(|| work.path().join("result"), Path::to_owned);
    let mut paths = Vec::new();
    for (index, derivation) in found.iter().enumerate() {
        let root = numbered(&first, index);
        match build_one(&selection.nix, derivation, &root, display, interrupts).await? {
            Some(path) => paths.push(path),
            None => return Ok(None),
        }
    }
    Ok(Some(paths))
}

async fn build_one(
    nix: &Nix,
    derivation: &NamedDerivation,
    root: &Path,
    display: &dyn Fn() -> Box<dyn Report>,
    interrupts: &mut Interrupts,
) -> Result<Option<PathBuf>, RunnerError> {
    let reports = start(display(), None)?;
    let emit = |event| reports.events.emit(event);
    let work = nix_cli::realise(nix, &derivation.derivation, root, &emit);
    let built = unless_interrupted(work, interrupts).await;
    let (_, showing) = reports.end().map_err(stdout_lost)?;
    wait_until_shown(showing, interrupts).await?;
    let Some(result) = built else {
        return Ok(None);
    };
    result?;
    let path = fs::read_link(root).map_err(RunnerError::host_at("cannot read", root))?;
    Ok(Some(path))
}

/// The links of nix-build: `result`, `result-2`.
fn numbered(first: &Path, index: usize) -> PathBuf {
    if index == 0 {
        return first.to_owned();
    }
    let mut name = first.as_os_str().to_owned();
    name.push(format!("-{}", index + 1));
    name.into()
}
