//! Files below this program's data folder: their place, locks, and reading and writing them whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::tool::Error;
use crate::folders::{self, UserFolder};

/// This program's data folder, made or not.
pub(super) fn data_folder() -> Result<PathBuf, Error> {
    folders::own(UserFolder::Data).ok_or(Error::NoHome)
}

/// Waits until no other process holds the lock; it is free again when the value goes.
pub(super) fn lock(path: &Path) -> Result<Flock<File>, Error> {
    let file = File::create(path).map_err(|error| Error::file(path, error))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| Error::file(path, io::Error::from(errno)))
}

/// The value that a file holds; None if there is none or it holds something else.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let text = fs::read_to_string(path).ok()?;
    serde_json::from_str(&text).ok()
}

/// Writes a file whole or not at all.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut file =
        tempfile::NamedTempFile::new_in(folder).map_err(|error| Error::file(folder, error))?;
    let text = serde_json::to_string_pretty(value).expect("an index is plain data");
    file.write_all(text.as_bytes())
        .map_err(|error| Error::file(path, error))?;
    file.persist(path)
        .map_err(|error| Error::file(path, error.error))?;
    Ok(())
}
