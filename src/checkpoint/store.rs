//! Where checkpoints are kept: a slot for each test, all slots within a bound.
//!
//! A slot is a folder with `record.json` and a folder for each checkpoint.
//! Both are written whole and then renamed: what `record.json` does not name
//! was left half-written, or is another program's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use thiserror::Error;
use walkdir::WalkDir;

use super::{Checkpoint, FileRecord, RecordedCall, Recording};
use crate::digest::{self, Digest};
use crate::folders;

/// How large all checkpoints together may become, unless something else is said.
const BOUND_BYTES: u64 = 10 << 30;

/// The variable that says something else, in GiB.
const BOUND_VARIABLE: &str = "SNOWGLOBE_CHECKPOINTS_GIB";

/// The form of what is written; others are not read.
const VERSION: u32 = 2;

const RECORD: &str = "record.json";
const ABOUT: &str = "about.json";
const LOCK: &str = "lock";

/// What the lock of a slot holds; nothing else is taken for a slot.
const SIGNATURE: &str = "Snowglobe checkpoints 6e0f2b9d4c7a4b7e8a31\n";

/// How the names of checkpoints begin that are not whole yet.
const UNFINISHED: &str = ".new-";

/// Why a slot cannot be had.
#[derive(Debug, Error)]
pub enum CheckpointStoreError {
    #[error("another run of this test has its checkpoints")]
    Busy,
    #[error("its checkpoints cannot be kept in {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error(
        "checkpoints in {0} are not used: other users can change them (make it yours alone: chmod 700)"
    )]
    Exposed(PathBuf),
}

/// What must be the same for a checkpoint to be of any use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotKey {
    pub test: String,
    /// The test's file: others may have a test of this name.
    pub file: PathBuf,
    pub nodes: Vec<String>,
    pub vlans: Vec<u32>,
    /// What QEMU says of its version.
    pub qemu: String,
    pub accelerator: String,
    /// Arguments from the environment.
    pub options: BTreeMap<String, String>,
    /// The version of this program.
    pub program: String,
}

impl SlotKey {
    /// The name of its slot.
    fn name(&self) -> String {
        let mut digest = Digest::default();
        digest.field(serde_json::to_vec(self).unwrap_or_default());
        digest.name()
    }
}

/// The machines' run scripts, by their nodes. If one has changed, the
/// others can be restored all the same.
pub type RunScripts = BTreeMap<String, PathBuf>;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SlotRecord {
    version: u32,
    key: SlotKey,
    machines: RunScripts,
    entries: Vec<RecordedCall>,
    /// Folders of checkpoints.
    checkpoints: Vec<String>,
}

/// All slots of a user.
#[derive(Debug, Clone)]
pub struct CheckpointStore {
    folder: PathBuf,
    bound_bytes: u64,
}

/// What a slot holds, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub test: String,
    pub checkpoints: usize,
    pub bytes: u64,
    pub used: SystemTime,
}

/// The checkpoints of one test, for one run at a time.
#[derive(Debug)]
pub struct Slot {
    store: CheckpointStore,
    folder: PathBuf,
    key: SlotKey,
    machines: RunScripts,
    _lock: Flock<File>,
}

impl CheckpointStore {
    /// The user's, in the cache folder; None without a home folder.
    #[must_use]
    pub fn own() -> Option<Self> {
        let folder = folders::own(folders::UserFolder::Cache)?.join("checkpoints");
        let said = std::env::var(BOUND_VARIABLE).ok();
        let gibibytes = said.and_then(|text| text.parse::<u64>().ok());
        let bound_bytes = gibibytes.map_or(BOUND_BYTES, |count| count << 30);
        Some(Self::in_folder(folder, bound_bytes))
    }

    #[must_use]
    pub fn in_folder(folder: PathBuf, bound_bytes: u64) -> Self {
        Self {
            folder,
            bound_bytes,
        }
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    #[must_use]
    pub fn bound_bytes(&self) -> u64 {
        self.bound_bytes
    }

    /// Takes the slot of a test.
    ///
    /// # Errors
    /// When another run has it, or it cannot be written.
    pub fn open(&self, key: SlotKey, machines: RunScripts) -> Result<Slot, CheckpointStoreError> {
        let folder = self.folder.join(key.name());
        let failed = |source| CheckpointStoreError::File {
            path: folder.clone(),
            source,
        };
        folders::create_private(&folder).map_err(failed)?;
        for folder in [&self.folder, &folder] {
            if is_exposed(folder).map_err(failed)? {
                return Err(CheckpointStoreError::Exposed(folder.clone()));
            }
        }
        let lock = lock(&folder).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => CheckpointStoreError::Busy,
            _ => failed(error),
        })?;
        Ok(Slot {
            store: self.clone(),
            folder,
            key,
            machines,
            _lock: lock,
        })
    }

    /// What there is, the last used first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn summaries(&self) -> io::Result<Vec<Summary>> {
        let mut summaries: Vec<Summary> = self
            .slots()?
            .into_iter()
            .map(|folder| {
                let record = read_record(&folder);
                Summary {
                    test: record.as_ref().map_or_else(
                        || "(half-written)".to_owned(),
                        |record| record.key.test.clone(),
                    ),
                    checkpoints: record.map_or(0, |record| record.checkpoints.len()),
                    bytes: size(&folder),
                    used: used(&folder),
                }
            })
            .collect();
        summaries.sort_by_key(|summary| std::cmp::Reverse(summary.used));
        Ok(summaries)
    }

    /// Removes all but what runs have now; returns how much that was, in bytes.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clear(&self) -> io::Result<u64> {
        self.slots()?.iter().map(|folder| remove(folder)).sum()
    }

    fn slots(&self) -> io::Result<Vec<PathBuf>> {
        match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
            Ok(entries) => entries
                .map(|entry| Ok(entry?.path()))
                .filter(|path| path.as_ref().map_or(true, |path| is_slot(path)))
                .collect(),
        }
    }

    /// Removes the slots that were used least recently, but for `own`, until
    /// all are within the bound.
    fn shrink(&self, own: &Path) -> io::Result<()> {
        let mut slots: Vec<(SystemTime, PathBuf, u64)> = self
            .slots()?
            .into_iter()
            .map(|folder| (used(&folder), size(&folder), folder))
            .map(|(used, bytes, folder)| (used, folder, bytes))
            .collect();
        slots.sort();
        let mut total: u64 = slots.iter().map(|slot| slot.2).sum();
        for (_, folder, _) in slots.iter().filter(|slot| slot.1 != own) {
            if total <= self.bound_bytes {
                break;
            }
            total -= remove(folder)?;
        }
        Ok(())
    }
}

impl Slot {
    /// The recording of the last run; empty if it is damaged, or
    /// of something else. What is left of runs that were cut off is removed.
    #[must_use]
    pub fn read(&self) -> Recording {
        let recording = self.read_whole().unwrap_or_default();
        let known: Vec<&str> = recording
            .checkpoints
            .iter()
            .map(|checkpoint| checkpoint.folder.as_str())
            .collect();
        self.remove_others(&known);
        recording
    }

    fn read_whole(&self) -> Option<Recording> {
        let record = read_record(&self.folder)?;
        if record.key != self.key {
            return None;
        }
        let checkpoints = record
            .checkpoints
            .iter()
            .filter_map(|name| self.read_checkpoint(name))
            .filter(|checkpoint| checkpoint.position <= record.entries.len())
            .collect();
        let changed: BTreeSet<String> = self
            .machines
            .iter()
            .filter(|(node, script)| record.machines.get(*node) != Some(script))
            .map(|(node, _)| node.clone())
            .collect();
        (changed.len() < self.machines.len()).then_some(Recording {
            entries: record.entries,
            checkpoints,
            changed,
        })
    }

    fn read_checkpoint(&self, name: &str) -> Option<Checkpoint> {
        let folder = self.folder.join(name);
        let file = File::open(folder.join(ABOUT)).ok()?;
        let checkpoint: Checkpoint = serde_json::from_reader(BufReader::new(file)).ok()?;
        let is_whole = checkpoint.folder == name
            && checkpoint.files.iter().all(|(path, file)| {
                fs::metadata(folder.join(path)).is_ok_and(|found| found.len() == file.bytes)
            });
        is_whole.then_some(checkpoint)
    }

    /// Whether the files of a checkpoint hold what was saved. It reads them
    /// all, side by side.
    ///
    /// # Errors
    /// When one is damaged: it is named.
    pub fn verify(&self, checkpoint: &Checkpoint) -> Result<(), String> {
        let folder = self.folder_of(checkpoint);
        std::thread::scope(|scope| {
            let checks: Vec<_> = checkpoint
                .files
                .iter()
                .map(|(path, file)| {
                    let path = folder.join(path);
                    scope.spawn(move || match digest::of_file(&path) {
                        Ok(found) if found == file.digest => Ok(()),
                        Ok(_) => Err(format!("{} is damaged", path.display())),
                        Err(error) => Err(format!("{}: {error}", path.display())),
                    })
                })
                .collect();
            checks.into_iter().try_for_each(|check| {
                let panicked = |_| Err("its files cannot be read".to_owned());
                check.join().unwrap_or_else(panicked)
            })
        })
    }

    /// A folder for a checkpoint, which goes away unless it is kept.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn begin(&self) -> io::Result<TempDir> {
        folders::private_folder_in(&self.folder, UNFINISHED)
    }

    /// Where the files of a checkpoint are.
    #[must_use]
    pub fn folder_of(&self, checkpoint: &Checkpoint) -> PathBuf {
        self.folder.join(&checkpoint.folder)
    }

    /// Makes a folder of [`Slot::begin`] a checkpoint of the slot.
    ///
    /// # Errors
    /// When it cannot be written, or would be too much.
    pub fn keep(&self, folder: TempDir, checkpoint: &mut Checkpoint) -> io::Result<()> {
        if size(&self.folder) > self.store.bound_bytes {
            return Err(io::Error::other(format!(
                "with {} MiB more, the checkpoints of this test alone are over the bound ({BOUND_VARIABLE})",
                size(folder.path()) >> 20
            )));
        }
        checkpoint.files = records(folder.path())?;
        let name = folder.path().file_name().unwrap_or_default();
        let name = name.to_string_lossy();
        name.trim_start_matches(UNFINISHED)
            .clone_into(&mut checkpoint.folder);
        write_json(&folder.path().join(ABOUT), checkpoint)?;
        let to = self.folder_of(checkpoint);
        fs::rename(folder.keep(), to)
    }

    /// Remembers this for the next run, and nothing else.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, recording: Recording) -> io::Result<()> {
        let record = SlotRecord {
            version: VERSION,
            key: self.key.clone(),
            machines: self.machines.clone(),
            entries: recording.entries,
            checkpoints: recording
                .checkpoints
                .into_iter()
                .map(|checkpoint| checkpoint.folder)
                .collect(),
        };
        write_json(&self.folder.join(RECORD), &record)?;
        let known: Vec<&str> = record.checkpoints.iter().map(String::as_str).collect();
        self.remove_others(&known);
        self.store.shrink(&self.folder)
    }

    fn remove_others(&self, known: &[&str]) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| is_checkpoint(&entry.path())) {
            if !known.iter().any(|name| entry.file_name() == *name) {
                // It takes room until the next time.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

fn read_record(folder: &Path) -> Option<SlotRecord> {
    let file = File::open(folder.join(RECORD)).ok()?;
    let record: SlotRecord = serde_json::from_reader(BufReader::new(file)).ok()?;
    (record.version == VERSION).then_some(record)
}

fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
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
fn used(folder: &Path) -> SystemTime {
    fs::metadata(folder.join(RECORD))
        .and_then(|metadata| metadata.modified())
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The sizes of the files in a folder, by their paths there.
fn files(folder: &Path) -> io::Result<BTreeMap<String, u64>> {
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

fn size(folder: &Path) -> u64 {
    files(folder).map_or(0, |files| files.values().sum())
}

/// The files in a folder as they are now.
fn records(folder: &Path) -> io::Result<BTreeMap<String, FileRecord>> {
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
fn remove(folder: &Path) -> io::Result<u64> {
    let _lock = match lock(folder) {
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
        _ => Ok(before - size(folder)),
    }
}

/// Locks a slot; the error is `WouldBlock` if a run uses it.
fn lock(folder: &Path) -> io::Result<Flock<File>> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join(LOCK))?;
    let mut lock =
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
            Errno::EWOULDBLOCK => io::ErrorKind::WouldBlock.into(),
            other => io::Error::from(other),
        })?;
    lock.write_all(SIGNATURE.as_bytes())?;
    Ok(lock)
}

/// Whether a folder is a slot, and not something else in the cache.
fn is_slot(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let is_digest = digest::is_name(&name);
    is_digest && fs::read_to_string(folder.join(LOCK)).is_ok_and(|text| text == SIGNATURE)
}

/// Whether a folder in a slot is a checkpoint, whole or not.
fn is_checkpoint(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let is_folder = fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir());
    is_folder && (name.starts_with(UNFINISHED) || folder.join(ABOUT).is_file())
}

/// Whether other users can change what is in a folder.
fn is_exposed(folder: &Path) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(folder)?;
    let is_own = metadata.is_dir() && metadata.uid() == geteuid().as_raw();
    Ok(!is_own || metadata.mode() & 0o022 != 0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::checkpoint;
    use super::*;

    fn key(test: &str) -> SlotKey {
        SlotKey {
            test: test.to_owned(),
            ..SlotKey::default()
        }
    }

    fn machines(script: &str) -> RunScripts {
        let scripts = [("server", script), ("client", "c")];
        scripts
            .map(|(node, script)| (node.to_owned(), PathBuf::from(script)))
            .into()
    }

    fn store(folder: &TempDir, bound_bytes: u64) -> CheckpointStore {
        CheckpointStore::in_folder(folder.path().join("checkpoints"), bound_bytes)
    }

    /// Remembers a checkpoint of so many bytes.
    fn remember(slot: &Slot, bytes: usize) -> Recording {
        let folder = slot.begin().unwrap();
        fs::write(folder.path().join("memory"), vec![0; bytes]).unwrap();
        let mut checkpoint = checkpoint(0, 1.0);
        slot.keep(folder, &mut checkpoint).unwrap();
        let recording = Recording {
            checkpoints: vec![checkpoint],
            ..Recording::default()
        };
        slot.write(recording.clone()).unwrap();
        recording
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let slot = store(&folder, 1 << 20)
            .open(key("a"), machines("a"))
            .unwrap();
        let recording = remember(&slot, 100);
        assert_eq!(slot.read(), recording);
        assert!(matches!(
            store(&folder, 1 << 20).open(key("a"), machines("a")),
            Err(CheckpointStoreError::Busy)
        ));
    }

    #[test]
    fn what_is_not_whole_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let slot = store(&folder, 1 << 20)
            .open(key("a"), machines("a"))
            .unwrap();
        let recording = remember(&slot, 100);
        let of_it = slot.folder_of(&recording.checkpoints[0]);
        fs::write(of_it.join("memory"), "short").unwrap();
        let left = slot.begin().unwrap().keep();
        assert_eq!(slot.read(), Recording::default());
        assert!(!left.exists() && !of_it.exists());
    }

    #[test]
    fn a_byte_that_has_changed_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let slot = store(&folder, 1 << 20)
            .open(key("a"), machines("a"))
            .unwrap();
        let checkpoint = &remember(&slot, 100).checkpoints[0];
        assert_eq!(slot.verify(checkpoint), Ok(()));
        let recording = slot.folder_of(checkpoint).join("memory");
        let mut bytes = fs::read(&recording).unwrap();
        bytes[50] ^= 1;
        fs::write(&recording, bytes).unwrap();
        let error = slot.verify(checkpoint).unwrap_err();
        assert!(error.ends_with("/memory is damaged"), "{error}");
    }

    #[test]
    fn folders_that_others_can_change_are_not_used() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder, 1 << 20);
        drop(store.open(key("a"), machines("a")).unwrap());
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(store.folder(), open).unwrap();
        assert!(matches!(
            store.open(key("a"), machines("a")),
            Err(CheckpointStoreError::Exposed(_))
        ));
    }

    #[test]
    fn only_what_this_program_has_made_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder, 1 << 20);
        let slot = store.open(key("a"), machines("a")).unwrap();
        remember(&slot, 100);
        let thesis = slot.folder.join("thesis/chapter");
        fs::create_dir(thesis.parent().unwrap()).unwrap();
        fs::write(&thesis, "x").unwrap();
        let other = store.folder().join("0123456789abcdef0123456789abcdef");
        fs::create_dir(&other).unwrap();
        fs::write(other.join(LOCK), "mine").unwrap();
        drop(slot);
        assert!(store.clear().unwrap() > 100);
        assert!(thesis.exists() && other.join(LOCK).exists());
        assert_eq!(fs::read_to_string(other.join(LOCK)).unwrap(), "mine");
    }

    #[test]
    fn a_slot_of_something_else_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut slot = store(&folder, 1 << 20)
            .open(key("a"), machines("a"))
            .unwrap();
        remember(&slot, 100);
        slot.key = key("b");
        assert_eq!(slot.read(), Recording::default());
    }

    #[test]
    fn machines_that_have_changed_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut slot = store(&folder, 1 << 20)
            .open(key("a"), machines("a"))
            .unwrap();
        remember(&slot, 100);
        slot.machines = machines("b");
        assert_eq!(slot.read().changed, BTreeSet::from(["server".to_owned()]));
        slot.machines = BTreeMap::from([("other".to_owned(), PathBuf::new())]);
        assert_eq!(slot.read(), Recording::default());
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder, 4500);
        for test in ["a", "b", "c"] {
            let slot = store.open(key(test), machines("a")).unwrap();
            remember(&slot, 1200);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let tests: Vec<String> = store
            .summaries()
            .unwrap()
            .into_iter()
            .map(|summary| summary.test)
            .collect();
        assert_eq!(tests, ["c", "b"]);
        assert!(store.clear().unwrap() > 2400);
        assert!(store.summaries().unwrap().is_empty());
    }
}
