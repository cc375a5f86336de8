//! The folders of slots on disk: what is in them, who may use them, and how they are removed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use serde::Serialize;
use walkdir::WalkDir;

use super::FileRecord;
use crate::digest;

/// The variable that sets how large all checkpoints together may become, in GiB.
pub const BOUND_VARIABLE: &str = "SNOWGLOBE_CHECKPOINTS_GIB";

pub const RECORD: &str = "record.json";
pub const ABOUT: &str = "about.json";
pub const LOCK: &str = "lock";

/// The content of a slot's lock. A folder without it is no slot.
const SIGNATURE: &str = "Snowglobe checkpoints 6e0f2b9d4c7a4b7e8a31\n";

/// How the names of checkpoints begin that are not whole yet.
pub const UNFINISHED: &str = ".new-";

/// The slots in a folder.
pub fn slots(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(entries) => entries
            .map(|entry| Ok(entry?.path()))
            .filter(|path| path.as_ref().map_or(true, |path| is_slot(path)))
            .collect(),
    }
}

/// Removes the slots in a folder that were used least recently, but for `own`,
/// until all are within the bound.
pub fn shrink(folder: &Path, bound_bytes: u64, own: &Path) -> io::Result<()> {
    let mut slots: Vec<(SystemTime, PathBuf, u64)> = slots(folder)?
        .into_iter()
        .map(|slot| (used(&slot), size(&slot), slot))
        .map(|(used, bytes, slot)| (used, slot, bytes))
        .collect();
    slots.sort();
    let mut total = slots
        .iter()
        .fold(0_u64, |sum, slot| sum.saturating_add(slot.2));
    for (_, slot, _) in slots.iter().filter(|slot| slot.1 != own) {
        if total <= bound_bytes {
            break;
        }
        total = total.saturating_sub(remove(slot)?);
    }
    Ok(())
}

pub fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    let mut writer = BufWriter::new(&mut file);
    serde_json::to_writer(&mut writer, value)?;
    writer.flush()?;
    drop(writer);
    file.persist(path)?;
    Ok(())
}

/// When a slot was last written.
pub fn used(folder: &Path) -> SystemTime {
    fs::metadata(folder.join(RECORD))
        .and_then(|metadata| metadata.modified())
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The sizes of the files in a folder, by their paths there.
pub fn files(folder: &Path) -> io::Result<BTreeMap<String, u64>> {
    let mut sizes = BTreeMap::new();
    for entry in WalkDir::new(folder) {
        let entry = entry?;
        if entry.file_type().is_file() {
            let path = entry.path().strip_prefix(folder).unwrap_or(entry.path());
            let bytes = entry.metadata().map_err(io::Error::from)?.len();
            sizes.insert(path.to_string_lossy().into_owned(), bytes);
        }
    }
    Ok(sizes)
}

pub fn size(folder: &Path) -> u64 {
    files(folder).map_or(0, |files| files.values().sum())
}

/// The files in a folder as they are now.
pub fn records(folder: &Path) -> io::Result<BTreeMap<String, FileRecord>> {
    files(folder)?
        .into_iter()
        .map(|(path, bytes)| {
            let digest = digest::of_file(&folder.join(&path))?;
            Ok((path, FileRecord { bytes, digest }))
        })
        .collect()
}

/// Removes what Snowglobe has put into a slot, unless a run uses it; returns its
/// size in bytes. Other files stay, and the slot with them.
pub fn remove(folder: &Path) -> io::Result<u64> {
    let _lock = match lock(folder, SlotAccess::Alone) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
        other => other?,
    };
    let before = size(folder);
    let entries: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()?;
    for checkpoint in entries.iter().filter(|path| is_checkpoint(path)) {
        fs::remove_dir_all(checkpoint)?;
    }
    for name in [RECORD, LOCK] {
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(error),
        _ => Ok(before.saturating_sub(size(folder))),
    }
}

/// Who may use a slot at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotAccess {
    /// One run, which writes the recording.
    Alone,
    /// Several runs, which leave the recording as it is.
    Shared,
}

/// Locks a slot; the error is `WouldBlock` if a run uses it.
pub fn lock(folder: &Path, access: SlotAccess) -> io::Result<Flock<File>> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join(LOCK))?;
    let how = match access {
        SlotAccess::Alone => FlockArg::LockExclusiveNonblock,
        SlotAccess::Shared => FlockArg::LockSharedNonblock,
    };
    let mut lock = Flock::lock(file, how).map_err(|(_, error)| match error {
        Errno::EWOULDBLOCK => io::ErrorKind::WouldBlock.into(),
        other => io::Error::from(other),
    })?;
    if access == SlotAccess::Alone {
        lock.write_all(SIGNATURE.as_bytes())?;
    }
    Ok(lock)
}

/// Whether a folder is a slot, and not something else in the cache.
pub fn is_slot(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let is_digest = digest::is_name(&name);
    is_digest && fs::read_to_string(folder.join(LOCK)).is_ok_and(|text| text == SIGNATURE)
}

/// Whether a folder in a slot is a checkpoint, whole or not.
pub fn is_checkpoint(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let is_folder = fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir());
    is_folder && (name.starts_with(UNFINISHED) || folder.join(ABOUT).is_file())
}

/// Whether other users can change what is in a folder.
pub fn is_exposed(folder: &Path) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(folder)?;
    let is_own = metadata.is_dir() && metadata.uid() == geteuid().as_raw();
    Ok(!is_own || metadata.mode() & 0o022 != 0)
}
