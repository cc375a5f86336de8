//! Writes the sources of the built-in guests, and this program, as a file for flakes: their evaluation sees neither the
//! home folder nor the store.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::data_files::read_json;
use super::fetch::index_path;
use super::index::{Index, StoreFile};
use super::store::NixStore;
use super::tool::Error;
use crate::nix_cli::Nix;

/// The index, with the program.
#[derive(Debug, Serialize)]
struct Pinned {
    #[serde(flatten)]
    index: Index,
    program: StoreFile,
}

/// Puts this program into the store, and writes where it and the guests'
/// packages are to `target`.
///
/// # Errors
/// Returns an error if the guests are not set up, Nix fails or the file cannot be written.
pub fn pin(nix: &Nix, target: &Path) -> Result<(), Error> {
    let index: Index = read_json(&index_path()?).ok_or(Error::NotSetUp)?;
    let work = tempfile::tempdir().map_err(Error::temporary)?;
    let tree = work.path().join("snowglobe");
    let bin = tree.join("bin");
    fs::create_dir_all(&bin).map_err(|error| Error::file(&bin, error))?;
    let program = std::env::current_exe().map_err(|error| Error::file(&bin, error))?;
    fs::copy(&program, bin.join("snowglobe")).map_err(|error| Error::file(&program, error))?;
    let program = NixStore { nix }.add_tree(&tree)?;
    let mut text =
        serde_json::to_string_pretty(&Pinned { index, program }).expect("an index is plain data");
    text.push('\n');
    fs::write(target, text).map_err(|error| Error::file(target, error))
}
