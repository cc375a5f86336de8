//! The slot of one test: the recording of its last run, and its checkpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::slot_folder::{
    ABOUT, BOUND_VARIABLE, RECORD, SlotAccess, UNFINISHED, is_checkpoint, records, shrink, size,
    write_json,
};
use super::{Checkpoint, FailedLine, NoRecording, StoredRecording};
use crate::digest::{self, Digest};
use crate::folders;

/// The form of what is written; others are not read.
const VERSION: u32 = 5;

/// Properties that must be equal for a checkpoint to be usable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotKey {
    pub test: String,
    /// The test's file: others may have a test of this name.
    pub file: PathBuf,
    pub nodes: Vec<String>,
    pub vlans: Vec<u32>,
    /// The output of `qemu --version`.
    pub qemu: String,
    pub accelerator: String,
    /// Arguments from the environment.
    pub options: BTreeMap<String, String>,
    /// The version of this program.
    pub program: String,
}

impl SlotKey {
    /// The name of its slot.
    pub(super) fn name(&self) -> String {
        let mut digest = Digest::default();
        digest.field(serde_json::to_vec(self).unwrap_or_default());
        digest.name()
    }

    /// Returns what recordings of this key depend on, where another run has something else.
    pub(super) fn elsewhere(&self, other: &Self) -> NoRecording {
        let Self {
            test: _,
            file: _,
            nodes,
            vlans,
            qemu,
            accelerator,
            options,
            program,
        } = self;
        let version = qemu.lines().next().unwrap_or("another QEMU");
        let given: Vec<String> = options
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let given = match given.as_slice() {
            [] => "no options of QEMU".to_owned(),
            given => given.join(" "),
        };
        let parts = [
            (
                *nodes != other.nodes,
                format!("other nodes ({})", nodes.join(", ")),
            ),
            (*vlans != other.vlans, "other networks".to_owned()),
            (*qemu != other.qemu, version.to_owned()),
            (
                *accelerator != other.accelerator,
                format!("the accelerator {accelerator}"),
            ),
            (*options != other.options, given),
            (*program != other.program, format!("Snowglobe {program}")),
        ];
        let differing = parts
            .into_iter()
            .filter_map(|(differs, text)| differs.then_some(text));
        NoRecording::Elsewhere(differing.collect::<Vec<_>>().join(", "))
    }
}

/// The machines' run scripts, by their nodes. If one has changed, the
/// others can be restored all the same.
pub type RunScripts = BTreeMap<String, PathBuf>;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SlotRecord<C> {
    version: u32,
    pub key: SlotKey,
    pub machines: RunScripts,
    entries: Vec<C>,
    /// Folders of checkpoints.
    pub checkpoints: Vec<String>,
    /// Why the run saved no more of them.
    obstacle: Option<String>,
    failed: Option<FailedLine>,
    unrepeatable: BTreeSet<String>,
}

/// The checkpoints of one test.
#[derive(Debug)]
pub struct Slot {
    pub(super) access: SlotAccess,
    pub(super) folder: PathBuf,
    pub(super) key: SlotKey,
    pub(super) machines: RunScripts,
    pub(super) bound_bytes: u64,
    pub(super) _lock: Flock<File>,
}

impl Slot {
    /// The recording of the last run, with a checkpoint at least. A run that has the slot alone removes the rest of runs that
    /// were cut off.
    ///
    /// # Errors
    /// Returns an error if there is no such recording.
    pub fn read<C: DeserializeOwned>(&self) -> Result<StoredRecording<C>, NoRecording> {
        let recording = self.read_whole();
        if self.access == SlotAccess::Shared {
            return recording;
        }
        let known = recording.iter().flat_map(|it| &it.checkpoints);
        let known: Vec<&str> = known.map(|checkpoint| checkpoint.folder.as_str()).collect();
        self.remove_others(&known);
        recording
    }

    fn read_whole<C: DeserializeOwned>(&self) -> Result<StoredRecording<C>, NoRecording> {
        if !self.folder.join(RECORD).exists() {
            return Err(NoRecording::FirstRun);
        }
        let record: SlotRecord<C> = read_record(&self.folder).ok_or(NoRecording::Unreadable)?;
        if record.key != self.key {
            return Err(record.key.elsewhere(&self.key));
        }
        if record.checkpoints.is_empty() {
            let obstacle = record.obstacle.map(NoRecording::Obstacle);
            return Err(obstacle.unwrap_or(NoRecording::NoneTaken));
        }
        let checkpoints: Vec<Checkpoint> = record
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
        if checkpoints.is_empty() {
            return Err(NoRecording::Damaged);
        }
        if changed.len() == self.machines.len() {
            return Err(NoRecording::Changed(changed));
        }
        Ok(StoredRecording {
            entries: record.entries,
            checkpoints,
            changed,
            obstacle: None,
            failed: record.failed,
            unrepeatable: record.unrepeatable,
            wanted: None,
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
    /// Returns an error if one is damaged: it is named.
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

    /// Whether other runs use the slot, too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.access == SlotAccess::Shared
    }

    /// A folder for a checkpoint, which goes away unless it is kept.
    ///
    /// # Errors
    /// Returns an error if it cannot be made.
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
    /// Returns an error if it cannot be written, or would be too much.
    pub fn keep(&self, folder: TempDir, checkpoint: &mut Checkpoint) -> io::Result<()> {
        if size(&self.folder) > self.bound_bytes {
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
    /// Returns an error if it cannot be written.
    pub fn write<C: Serialize>(&self, recording: StoredRecording<C>) -> io::Result<()> {
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
            obstacle: recording.obstacle,
            failed: recording.failed,
            unrepeatable: recording.unrepeatable,
        };
        write_json(&self.folder.join(RECORD), &record)?;
        let known: Vec<&str> = record.checkpoints.iter().map(String::as_str).collect();
        self.remove_others(&known);
        let slots = self.folder.parent().unwrap_or(&self.folder);
        shrink(slots, self.bound_bytes, &self.folder)
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

pub(super) fn read_record<C: DeserializeOwned>(folder: &Path) -> Option<SlotRecord<C>> {
    let file = File::open(folder.join(RECORD)).ok()?;
    let record: SlotRecord<C> = serde_json::from_reader(BufReader::new(file)).ok()?;
    (record.version == VERSION).then_some(record)
}
