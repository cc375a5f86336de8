//! Where checkpoints are kept: a slot for each test, all slots within a bound.
//!
//! A slot is a folder with `record.json` and a folder for each checkpoint.
//! Both are written whole and then renamed: what `record.json` does not name
//! was left half-written, or is another program's.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::de::IgnoredAny;
use thiserror::Error;

use super::NoRecording;
use super::slot::{RunScripts, Slot, SlotKey, read_record};
use super::slot_folder::{BOUND_VARIABLE, SlotAccess, is_exposed, lock, remove, size, slots, used};
use crate::folders;

/// How large all checkpoints together may become, unless something else is said.
const BOUND_BYTES: u64 = 10 << 30;

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

/// All slots of a user.
#[derive(Debug, Clone)]
pub struct CheckpointStore {
    folder: PathBuf,
    bound_bytes: u64,
}

/// The content of a slot, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub test: String,
    pub checkpoints: usize,
    pub bytes: u64,
    pub used: SystemTime,
}

impl CheckpointStore {
    /// The user's, in the cache folder; None without a home folder.
    #[must_use]
    pub fn own() -> Option<Self> {
        let folder = folders::own(folders::UserFolder::Cache)?.join("checkpoints");
        let said = std::env::var(BOUND_VARIABLE).ok();
        let gibibytes = said.and_then(|text| text.parse::<u64>().ok());
        let bound_bytes = gibibytes.map_or(BOUND_BYTES, |count| count.saturating_mul(1 << 30));
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
    /// Returns an error if another run has it, or it cannot be written.
    pub fn open(
        &self,
        key: SlotKey,
        machines: RunScripts,
        access: SlotAccess,
    ) -> Result<Slot, CheckpointStoreError> {
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
        let lock = lock(&folder, access).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => CheckpointStoreError::Busy,
            _ => failed(error),
        })?;
        Ok(Slot {
            access,
            folder,
            key,
            machines,
            bound_bytes: self.bound_bytes,
            _lock: lock,
        })
    }

    /// Returns the run scripts of the machines in the recording of a test; `None` if there is no recording.
    #[must_use]
    pub fn recorded_scripts(&self, key: &SlotKey) -> Option<RunScripts> {
        let record = read_record::<IgnoredAny>(&self.folder.join(key.name()))?;
        (record.key == *key).then_some(record.machines)
    }

    /// Returns what the last run of a test depended on that had a slot of its own, other than that of `key`.
    #[must_use]
    pub fn last_elsewhere(&self, key: &SlotKey) -> Option<NoRecording> {
        let slots = slots(&self.folder).unwrap_or_default();
        let records = slots.iter().filter_map(|folder| {
            let other = read_record::<IgnoredAny>(folder)?.key;
            let is_same_test = other.test == key.test && other.file == key.file && other != *key;
            is_same_test.then(|| (used(folder), other))
        });
        let (_, other) = records.max_by_key(|(used, _)| *used)?;
        Some(other.elsewhere(key))
    }

    /// Returns all recordings, the last used first.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be read.
    pub fn summaries(&self) -> io::Result<Vec<Summary>> {
        let mut summaries: Vec<Summary> = slots(&self.folder)?
            .into_iter()
            .map(|folder| {
                let record = read_record::<IgnoredAny>(&folder);
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
    /// Returns an error if something cannot be removed.
    pub fn clear(&self) -> io::Result<u64> {
        slots(&self.folder)?
            .iter()
            .map(|folder| remove(folder))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;

    use tempfile::TempDir;

    use super::super::StoredRecording;
    use super::super::slot_folder::{LOCK, RECORD};
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
    fn remember(slot: &Slot, bytes: usize) -> StoredRecording<()> {
        let folder = slot.begin().unwrap();
        fs::write(folder.path().join("memory"), vec![0; bytes]).unwrap();
        let mut checkpoint = checkpoint(0, 1.0);
        slot.keep(folder, &mut checkpoint).unwrap();
        let recording = StoredRecording {
            checkpoints: vec![checkpoint],
            ..StoredRecording::default()
        };
        slot.write(recording.clone()).unwrap();
        recording
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let slot = store(&folder, 1 << 20)
            .open(key("a"), machines("a"), SlotAccess::Alone)
            .unwrap();
        let recording = remember(&slot, 100);
        assert_eq!(slot.read::<()>(), Ok(recording));
        assert!(matches!(
            store(&folder, 1 << 20).open(key("a"), machines("a"), SlotAccess::Alone),
            Err(CheckpointStoreError::Busy)
        ));
    }

    #[test]
    fn what_is_not_whole_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let slot = store(&folder, 1 << 20)
            .open(key("a"), machines("a"), SlotAccess::Alone)
            .unwrap();
        let recording = remember(&slot, 100);
        let of_it = slot.folder_of(&recording.checkpoints[0]);
        fs::write(of_it.join("memory"), "short").unwrap();
        let left = slot.begin().unwrap().keep();
        assert_eq!(slot.read::<()>(), Err(NoRecording::Damaged));
        assert!(!left.exists() && !of_it.exists());
    }

    #[test]
    fn a_byte_that_has_changed_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let slot = store(&folder, 1 << 20)
            .open(key("a"), machines("a"), SlotAccess::Alone)
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
        drop(
            store
                .open(key("a"), machines("a"), SlotAccess::Alone)
                .unwrap(),
        );
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(store.folder(), open).unwrap();
        assert!(matches!(
            store.open(key("a"), machines("a"), SlotAccess::Alone),
            Err(CheckpointStoreError::Exposed(_))
        ));
    }

    #[test]
    fn only_what_this_program_has_made_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder, 1 << 20);
        let slot = store
            .open(key("a"), machines("a"), SlotAccess::Alone)
            .unwrap();
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
            .open(key("a"), machines("a"), SlotAccess::Alone)
            .unwrap();
        remember(&slot, 100);
        slot.key = key("b");
        assert!(matches!(slot.read::<()>(), Err(NoRecording::Elsewhere(_))));
    }

    #[test]
    fn machines_that_have_changed_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut slot = store(&folder, 1 << 20)
            .open(key("a"), machines("a"), SlotAccess::Alone)
            .unwrap();
        remember(&slot, 100);
        slot.machines = machines("b");
        assert_eq!(
            slot.read::<()>().unwrap().changed,
            BTreeSet::from(["server".to_owned()])
        );
        slot.machines = BTreeMap::from([("other".to_owned(), PathBuf::new())]);
        let reason = slot.read::<()>().unwrap_err();
        assert_eq!(
            reason.to_string(),
            "machine other has changed since the last run"
        );
    }

    #[test]
    fn why_there_is_no_checkpoint_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let slot = store(&folder, 1 << 20)
            .open(key("a"), machines("a"), SlotAccess::Alone)
            .unwrap();
        assert_eq!(slot.read::<()>(), Err(NoRecording::FirstRun));
        slot.write(StoredRecording::<()>::default()).unwrap();
        assert_eq!(slot.read::<()>(), Err(NoRecording::NoneTaken));
        let obstacle = Some("no room".to_owned());
        slot.write(StoredRecording::<()> {
            obstacle,
            ..StoredRecording::default()
        })
        .unwrap();
        let reason = slot.read::<()>().unwrap_err();
        assert_eq!(
            reason.to_string(),
            "the last run could take no checkpoint: no room"
        );
        fs::write(slot.folder.join(RECORD), "{").unwrap();
        assert_eq!(slot.read::<()>(), Err(NoRecording::Unreadable));
    }

    #[test]
    fn what_the_last_run_depended_on_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder, 1 << 20);
        let last = SlotKey {
            qemu: "QEMU emulator version 7.2.19\nCopyright\n".to_owned(),
            accelerator: "kvm".to_owned(),
            options: BTreeMap::from([("QEMU_OPTS".to_owned(), "-s".to_owned())]),
            ..key("a")
        };
        assert_eq!(store.last_elsewhere(&last), None);
        let slot = store
            .open(last.clone(), machines("a"), SlotAccess::Alone)
            .unwrap();
        remember(&slot, 100);
        assert_eq!(store.last_elsewhere(&last), None);
        assert_eq!(store.last_elsewhere(&key("b")), None);
        assert_eq!(
            store.last_elsewhere(&key("a")).unwrap().to_string(),
            "the last run had QEMU emulator version 7.2.19, the accelerator kvm, QEMU_OPTS=-s"
        );
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder, 4500);
        for (test, age_s) in [("a", 2), ("b", 1), ("c", 0)] {
            let slot = store
                .open(key(test), machines("a"), SlotAccess::Alone)
                .unwrap();
            let record = slot.folder.join(RECORD);
            remember(&slot, 1200);
            let written = SystemTime::now() - std::time::Duration::from_secs(age_s);
            let file = fs::File::options().write(true).open(record).unwrap();
            file.set_modified(written).unwrap();
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
