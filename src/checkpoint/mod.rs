//! Checkpoints: all machines of a test as they were at one moment, and the store for them.

mod all;
mod no_recording;
mod slot;
mod slot_folder;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::machine::{Clock, Saved};

pub use all::{halt, load, save};
pub use no_recording::NoRecording;
pub use slot::{RunScripts, Slot, SlotKey};
pub use slot_folder::SlotAccess;
pub use store::{CheckpointStore, CheckpointStoreError, Summary};

/// All machines at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Its folder in the slot.
    pub folder: String,
    pub name: String,
    pub kind: CheckpointKind,
    /// How many calls led there.
    pub position: usize,
    pub taken: SystemTime,
    /// How long the run had taken until then, as if it had been cold, and how
    /// much of it was spent on checkpoints. In seconds.
    pub elapsed_s: f64,
    pub spent_s: f64,
    pub clock: Clock,
    /// By the machines' nodes.
    pub machines: BTreeMap<String, Saved>,
    /// Its files, by their paths in the folder.
    pub files: BTreeMap<String, FileRecord>,
}

/// A file as it was when its checkpoint was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    pub bytes: u64,
    /// The BLAKE3 digest of its content, in hexadecimal.
    pub digest: String,
}

/// Who wanted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointKind {
    Script,
    Automatic,
}

/// A stored run: its calls, of type `C`, and its checkpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRecording<C> {
    pub entries: Vec<C>,
    /// In the order in which they were taken.
    pub checkpoints: Vec<Checkpoint>,
    /// The machines that are others now.
    pub changed: BTreeSet<String>,
    /// Why the run saved no more checkpoints, if one could not be saved.
    pub obstacle: Option<String>,
    /// The line of the script that has failed; `None` if none has.
    pub failed: Option<FailedLine>,
    /// Digests of calls that gave other results when they were repeated: no run is replayed past them.
    pub unrepeatable: BTreeSet<String>,
    /// The subtest whose start is saved whatever it costs.
    pub wanted: Option<String>,
}

/// A line of a script that has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedLine {
    /// From 1.
    pub number: u32,
    pub text: String,
}

impl<C> Default for StoredRecording<C> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            checkpoints: Vec::new(),
            changed: BTreeSet::new(),
            obstacle: None,
            failed: None,
            unrepeatable: BTreeSet::new(),
            wanted: None,
        }
    }
}

impl<C> StoredRecording<C> {
    /// Returns the recording up to the call at `position`, where a run leaves it.
    #[must_use]
    pub fn until(mut self, position: usize) -> Self {
        self.entries.truncate(position);
        self.failed = None;
        let is_whole = std::mem::take(&mut self.changed).is_empty();
        self.checkpoints
            .retain(|checkpoint| is_whole && checkpoint.position <= position);
        self
    }

    /// Returns the recording up to the last checkpoint of a name, from which a run then starts.
    ///
    /// # Errors
    /// Returns an error if there is none.
    pub fn up_to(self, name: &str) -> Result<Self, NoRecording> {
        let found = self.checkpoints.iter().rposition(|it| it.name == name);
        let Some(last) = found else {
            let known = self.checkpoints.iter().map(|it| it.name.as_str());
            let known: Vec<&str> = known.collect();
            return Err(NoRecording::NoSuchCheckpoint {
                name: name.to_owned(),
                known: known.join(", "),
            });
        };
        Ok(self.up_to_number(last))
    }

    /// Returns the recording up to a checkpoint by its number from 0, from which a run then starts.
    #[must_use]
    pub fn up_to_number(mut self, number: usize) -> Self {
        self.checkpoints.truncate(number + 1);
        let position = self.checkpoints.last().map_or(0, |last| last.position);
        self.entries.truncate(position);
        self
    }

    /// The automatic checkpoint that is needed least: the one that the next
    /// one before is nearest to.
    #[must_use]
    pub fn least_needed(&self) -> Option<usize> {
        let elapsed = |number: usize| self.checkpoints[number].elapsed_s;
        (1..self.checkpoints.len())
            .filter(|number| self.checkpoints[*number].kind == CheckpointKind::Automatic)
            .min_by(|a, b| {
                let gap = |number: usize| elapsed(number) - elapsed(number - 1);
                gap(*a).total_cmp(&gap(*b))
            })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub fn checkpoint(position: usize, elapsed_s: f64) -> Checkpoint {
        Checkpoint {
            folder: format!("c{position}"),
            name: format!("at {position}"),
            kind: CheckpointKind::Automatic,
            position,
            taken: SystemTime::UNIX_EPOCH,
            elapsed_s,
            spent_s: 0.0,
            clock: Clock::FromHost,
            machines: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    #[test]
    fn a_recording_ends_at_a_checkpoint() {
        let recording = StoredRecording {
            entries: vec![1, 2, 3, 4],
            checkpoints: vec![checkpoint(1, 1.0), checkpoint(3, 2.0)],
            ..StoredRecording::default()
        };
        let short = recording.clone().up_to("at 1").unwrap();
        assert_eq!((short.entries, short.checkpoints.len()), (vec![1], 1));
        let error = recording.up_to("none").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the last run took no checkpoint `none`; it took: at 1, at 3"
        );
    }

    #[test]
    fn the_nearest_neighbour_is_needed_least() {
        let mut recording = StoredRecording::<()> {
            checkpoints: vec![
                checkpoint(1, 10.0),
                checkpoint(2, 20.0),
                checkpoint(3, 21.0),
                checkpoint(4, 40.0),
            ],
            ..StoredRecording::default()
        };
        assert_eq!(recording.least_needed(), Some(2));
        recording.checkpoints[2].kind = CheckpointKind::Script;
        assert_eq!(recording.least_needed(), Some(1));
    }
}
