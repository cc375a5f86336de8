//! The Nix code that belongs to the program: carried in it, written to the cache for Nix to read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use include_dir::{Dir, DirEntry, include_dir};
use tempfile::TempDir;
use thiserror::Error;

use crate::digest::Digest;
use crate::folders::{self, create_private, private_folder_in, private_temporary_folder};

static SOURCE: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/nix-lib");

/// Why the library cannot be laid out.
#[derive(Debug, Error)]
pub enum LibraryError {
    #[error("cannot lay out the Nix library in a temporary folder: {0}")]
    Temporary(io::Error),
}

/// The folder of the library.
#[derive(Debug, Clone)]
pub struct Library {
    folder: PathBuf,
    /// Why it is not in the cache; it goes away with this value then.
    without_cache: Option<(String, Arc<TempDir>)>,
}

impl Library {
    /// Finds the library in the cache, and writes it there if it is missing or
    /// damaged. The folder's name tells its content, so that versions are side
    /// by side. If the cache cannot be used, a temporary folder takes its place.
    ///
    /// # Errors
    /// Returns an error if there is no place for temporary files, either.
    pub fn unpack() -> Result<Self, LibraryError> {
        match in_cache() {
            Ok(folder) => Ok(Self {
                folder,
                without_cache: None,
            }),
            Err(reason) => {
                let temporary = private_temporary_folder().map_err(LibraryError::Temporary)?;
                let folder = temporary.path().join("nix-lib");
                fs::create_dir(&folder)
                    .and_then(|()| SOURCE.extract(&folder))
                    .map_err(LibraryError::Temporary)?;
                Ok(Self {
                    folder,
                    without_cache: Some((reason, Arc::new(temporary))),
                })
            }
        }
    }

    /// Why the cache cannot be used; None if it can.
    #[must_use]
    pub fn cache_fault(&self) -> Option<&str> {
        self.without_cache
            .as_ref()
            .map(|(reason, _)| reason.as_str())
    }

    /// Where evaluations are remembered; None without a cache.
    #[must_use]
    pub fn evaluations(&self) -> Option<PathBuf> {
        let in_cache = self.without_cache.is_none();
        in_cache.then(|| self.folder.with_file_name("evaluations"))
    }

    /// The expression that is evaluated.
    #[must_use]
    pub fn entry(&self) -> PathBuf {
        self.folder.join("entry.nix")
    }

    /// The file that each evaluation copies, which shows that Nix prints what it copies.
    #[must_use]
    pub(super) fn canary(&self) -> PathBuf {
        self.folder.join("observe/often.nix")
    }

    /// The expression that makes a test of its parts.
    #[must_use]
    pub(super) fn whole(&self) -> PathBuf {
        self.folder.join("whole.nix")
    }

    /// Returns the folder of the built-in package set.
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
        text_of("builtin/packages.json")
    }

    /// The list of Debian's packages that NixOS machines are built with.
    ///
    /// # Panics
    /// As [`Library::packages`].
    #[must_use]
    pub fn debian_packages() -> &'static str {
        text_of("debian/packages.json")
    }

    /// The folder of what replaces nixpkgs' packages by Debian's.
    #[must_use]
    pub(super) fn debian(&self) -> PathBuf {
        self.folder.join("debian")
    }
}

fn text_of(file: &str) -> &'static str {
    SOURCE
        .get_file(file)
        .and_then(|file| file.contents_utf8())
        .expect("the library holds its lists of packages")
}

/// The library in the cache, whole; else the reason why not.
fn in_cache() -> Result<PathBuf, String> {
    let cache = folders::own(folders::UserFolder::Cache)
        .ok_or_else(|| "neither XDG_CACHE_HOME nor HOME is set".to_owned())?;
    let folder = cache.join(format!("nix-lib-{}", fingerprint(&SOURCE)));
    if !is_whole(&SOURCE, &folder) {
        write_whole(&cache, &folder).map_err(|error| format!("{}: {error}", cache.display()))?;
    }
    Ok(folder)
}

/// Whether all files are there as they should be.
fn is_whole(source: &Dir<'_>, folder: &Path) -> bool {
    source.entries().iter().all(|entry| match entry {
        DirEntry::Dir(inner) => is_whole(inner, folder),
        DirEntry::File(file) => {
            fs::read(folder.join(file.path())).is_ok_and(|found| found == file.contents())
        }
    })
}

/// Writes next to the target and renames, so that no run sees half of it. What
/// is there already is damaged, and goes.
fn write_whole(cache: &Path, folder: &Path) -> io::Result<()> {
    create_private(cache)?;
    let work = private_folder_in(cache, ".new-")?;
    let (new, old) = (work.path().join("new"), work.path().join("old"));
    fs::create_dir(&new)?;
    SOURCE.extract(&new)?;
    match fs::rename(folder, &old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match fs::rename(&new, folder) {
        // Another run was quicker.
        Err(_) if is_whole(&SOURCE, folder) => Ok(()),
        other => other,
    }
}

fn fingerprint(folder: &Dir<'_>) -> String {
    fn visit(folder: &Dir<'_>, digest: &mut Digest) {
        for entry in folder.entries() {
            digest.field(entry.path().as_os_str().as_encoded_bytes());
            match entry {
                DirEntry::Dir(inner) => visit(inner, digest),
                DirEntry::File(file) => {
                    digest.field(file.contents());
                }
            }
        }
    }
    let mut digest = Digest::default();
    visit(folder, &mut digest);
    digest.name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_copy_is_written_again() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("nix-lib-x");
        write_whole(cache.path(), &folder).unwrap();
        assert!(is_whole(&SOURCE, &folder));
        fs::write(folder.join("entry.nix"), "{ }").unwrap();
        fs::remove_dir_all(folder.join("builtin")).unwrap();
        assert!(!is_whole(&SOURCE, &folder));
        write_whole(cache.path(), &folder).unwrap();
        assert!(is_whole(&SOURCE, &folder));
        // Nothing is left beside it.
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1);
    }
}
