//! The Nix code that belongs to the program: carried in it, laid out in the cache where Nix can read it.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use include_dir::{Dir, DirEntry, include_dir};
use thiserror::Error;

use crate::folders;

static SOURCE: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/nix-lib");

/// Why the library cannot be laid out.
#[derive(Debug, Error)]
pub enum LibraryError {
    #[error("neither XDG_CACHE_HOME nor HOME is set: there is no place for the Nix library")]
    NoHome,
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
}

/// The folder of the library.
#[derive(Debug, Clone)]
pub struct Library {
    folder: PathBuf,
}

impl Library {
    /// Finds the library in the cache, and writes it there when it is missing.
    /// The folder's name tells its content, so versions live side by side.
    ///
    /// # Errors
    /// When there is no cache folder or it cannot be written.
    pub fn unpack() -> Result<Self, LibraryError> {
        let cache = folders::own(folders::Kind::Cache).ok_or(LibraryError::NoHome)?;
        let folder = cache.join(format!("nix-lib-{:016x}", fingerprint(&SOURCE)));
        if !folder.exists() {
            write_whole(&cache, &folder).map_err(|source| LibraryError::File {
                path: folder.clone(),
                source,
            })?;
        }
        Ok(Self { folder })
    }

    /// The expression that is evaluated.
    #[must_use]
    pub fn entry(&self) -> PathBuf {
        self.folder.join("entry.nix")
    }

    /// What stands in for nixpkgs.
    #[must_use]
    pub fn builtin(&self) -> PathBuf {
        self.folder.join("builtin")
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The list of what the built-in guests are made of.
    ///
    /// # Panics
    /// Never in a program that was built from its whole source.
    #[must_use]
    pub fn packages() -> &'static str {
        SOURCE
            .get_file("builtin/packages.json")
            .and_then(|file| file.contents_utf8())
            .expect("the library holds packages.json")
    }
}

/// Writes next to the target and renames, so that nobody sees half of it.
fn write_whole(cache: &Path, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(cache)?;
    let unfinished = tempfile::tempdir_in(cache)?;
    SOURCE.extract(unfinished.path())?;
    let unfinished = unfinished.keep();
    match fs::rename(&unfinished, folder) {
        // Another run was quicker: its files are the same.
        Err(_) if folder.exists() => fs::remove_dir_all(&unfinished),
        other => other,
    }
}

fn fingerprint(folder: &Dir<'_>) -> u64 {
    fn visit(folder: &Dir<'_>, hasher: &mut DefaultHasher) {
        for entry in folder.entries() {
            entry.path().hash(hasher);
            match entry {
                DirEntry::Dir(inner) => visit(inner, hasher),
                DirEntry::File(file) => file.contents().hash(hasher),
            }
        }
    }
    let mut hasher = DefaultHasher::new();
    visit(folder, &mut hasher);
    hasher.finish()
}
