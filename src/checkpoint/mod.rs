//! Checkpoints: all machines of a test as they were at one moment, and the calls that led there.

mod all;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::machine::{Clock, Saved};

pub use all::{load, save};
pub use store::{CheckpointStore, CheckpointStoreError, RunScripts, Slot, SlotKey, Summary};

/// A call of a script, and what it gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedCall {
    pub call: Call,
    pub result: Value,
}

/// What a script asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The machine; empty for the driver itself.
    pub target: String,
    /// The operation with its arguments.
    pub call: Value,
    /// Stands for files of the host that it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<String>,
}

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

/// What is remembered of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recording {
    pub entries: Vec<RecordedCall>,
    /// In the order in which they were taken.
    pub checkpoints: Vec<Checkpoint>,
    /// The machines that are others now.
    pub changed: BTreeSet<String>,
}

impl Recording {
    /// The last checkpoint that a run can go on from after so many calls. What
    /// was asked of machines that are others now does not count: the state of
    /// the rest is not older for it.
    #[must_use]
    pub fn before(&self, position: usize) -> Option<&Checkpoint> {
        self.checkpoints
            .iter()
            .rev()
            .find(|checkpoint| self.is_state_at(checkpoint, position))
    }

    fn is_state_at(&self, checkpoint: &Checkpoint, position: usize) -> bool {
        if checkpoint.position <= position {
            return true;
        }
        let since = self.entries.get(position..checkpoint.position);
        let concerns = |entry: &RecordedCall| {
            let Call { target, call, .. } = &entry.call;
            !target.is_empty() && !self.changed.contains(target) && call["operation"] != "connect"
        };
        !self.changed.is_empty() && since.is_some_and(|since| !since.iter().any(concerns))
    }

    /// What is left of it where a run goes another way after so many calls.
    #[must_use]
    pub fn until(mut self, position: usize) -> Self {
        self.entries.truncate(position);
        let is_whole = std::mem::take(&mut self.changed).is_empty();
        self.checkpoints
            .retain(|checkpoint| is_whole && checkpoint.position <= position);
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
    fn the_last_checkpoint_before_a_call_is_found() {
        let recording = Recording {
            checkpoints: vec![checkpoint(2, 1.0), checkpoint(5, 2.0)],
            ..Recording::default()
        };
        assert_eq!(recording.before(1), None);
        assert_eq!(recording.before(4).unwrap().position, 2);
        assert_eq!(recording.before(5).unwrap().position, 5);
        assert_eq!(recording.until(4).checkpoints.len(), 1);
    }

    #[test]
    fn machines_that_are_others_now_do_not_hold_the_rest_up() {
        let entry = |target: &str| RecordedCall {
            call: Call {
                target: target.to_owned(),
                call: serde_json::json!({"operation": "succeed"}),
                files: None,
            },
            result: Value::Null,
        };
        let mut recording = Recording {
            entries: ["", "client", "server", "", "client"].map(entry).into(),
            checkpoints: vec![checkpoint(1, 1.0), checkpoint(4, 2.0), checkpoint(5, 3.0)],
            ..Recording::default()
        };
        assert_eq!(recording.before(2).unwrap().position, 1);
        recording.changed.insert("server".to_owned());
        assert_eq!(recording.before(2).unwrap().position, 4);
        assert_eq!(recording.until(2).checkpoints, []);
    }

    #[test]
    fn the_nearest_neighbour_is_needed_least() {
        let mut recording = Recording {
            checkpoints: vec![
                checkpoint(1, 10.0),
                checkpoint(2, 20.0),
                checkpoint(3, 21.0),
                checkpoint(4, 40.0),
            ],
            ..Recording::default()
        };
        assert_eq!(recording.least_needed(), Some(2));
        recording.checkpoints[2].kind = CheckpointKind::Script;
        assert_eq!(recording.least_needed(), Some(1));
    }
}
