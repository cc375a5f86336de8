//! The folders of this program below the user's home, by the XDG specification.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Permissions of a folder for the user of this program alone.
const PRIVATE: u32 = 0o700;

/// Folders of a user that the XDG base directory specification defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserFolder {
    /// Files that can be made again.
    Cache,
    Data,
    /// Files that a session leaves for the next one.
    State,
}

/// This program's folder of a kind, made or not; None where neither the
/// specification's variable nor `HOME` is set.
#[must_use]
pub fn own(kind: UserFolder) -> Option<PathBuf> {
    let (variable, usual) = match kind {
        UserFolder::Cache => ("XDG_CACHE_HOME", ".cache"),
        UserFolder::Data => ("XDG_DATA_HOME", ".local/share"),
        UserFolder::State => ("XDG_STATE_HOME", ".local/state"),
    };
    // The specification has relative paths, and so empty ones, ignored.
    let folder = |variable| {
        let path = PathBuf::from(std::env::var_os(variable)?);
        path.is_absolute().then_some(path)
    };
    let base = folder(variable).or_else(|| Some(folder("HOME")?.join(usual)))?;
    // Files there name other files as text.
    base.to_str()?;
    Some(base.join("snowglobe"))
}

/// A path without the links in it; the path itself if it leads nowhere.
#[must_use]
pub fn real_path(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Makes a folder, and those above it, that only this user can use, whatever
/// the umask is. Folders that exist stay as they are.
///
/// # Errors
/// Returns an error if it cannot be made.
pub fn create_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE)
        .create(folder)
}

/// Makes a temporary folder that only this user can use, whatever the umask is.
///
/// # Errors
/// Returns an error if it cannot be made.
pub fn private_folder_in(parent: &Path, prefix: &str) -> io::Result<TempDir> {
    tempfile::Builder::new()
        .prefix(prefix)
        .permissions(Permissions::from_mode(PRIVATE))
        .tempdir_in(parent)
}

/// A temporary folder in the usual place for them.
///
/// # Errors
/// Returns an error if it cannot be made.
pub fn private_temporary_folder() -> io::Result<TempDir> {
    private_folder_in(&temporary_base(), "snowglobe-")
}

/// The usual place for temporary files, or `/tmp` if its path is not UTF-8: Nix and scripts get it as text.
#[must_use]
pub fn temporary_base() -> PathBuf {
    let usual = std::env::temp_dir();
    match usual.to_str() {
        Some(_) => usual,
        None => PathBuf::from("/tmp"),
    }
}
