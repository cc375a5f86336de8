//! Answers calls from a recording.

use std::sync::Arc;

use serde_json::Value;
use thiserror::Error;

use super::recording::{Recording, digest_of};
use crate::checkpoint::Slot;
use crate::host::{Call, DriverOperation};

/// Answers the calls of a run as long as they are those of the recording.
#[derive(Debug)]
pub(super) struct Player {
    pub slot: Arc<Slot>,
    pub recording: Recording,
    /// How many calls are answered.
    pub position: usize,
    /// Where the run leaves the recording.
    pub departure: Departure,
}

/// Where a run leaves its recording: the call, as a script writes it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Departure {
    #[error("{0} is another call than in the last run")]
    Differs(String),
    #[error("{0} takes files that have changed")]
    Files(String),
    #[error("{0} concerns a machine that has changed")]
    ChangedMachine(String),
    #[error("{0} comes after the end of the last run")]
    Unknown(String),
    #[error("{0} gave another result when it was repeated")]
    Unrepeatable(String),
    #[error("{0} is called in each run")]
    NotRecorded(String),
    #[error("the script has ended")]
    End,
}

impl Player {
    pub fn new(slot: Arc<Slot>, recording: Recording) -> Self {
        Self {
            slot,
            recording,
            position: 0,
            departure: Departure::End,
        }
    }

    /// Returns the recorded result if the call is the next one in the recording.
    pub fn answer(&mut self, call: &Call, files: Option<&str>) -> Result<Value, Departure> {
        let Some(entry) = self.recording.entries.get(self.position) else {
            return Err(Departure::Unknown(call.to_string()));
        };
        if self.asks_changed_machines(call) {
            return Err(Departure::ChangedMachine(call.to_string()));
        }
        if entry.call != *call {
            return Err(Departure::Differs(call.to_string()));
        }
        if entry.files.as_deref() != files {
            return Err(Departure::Files(call.to_string()));
        }
        if self.recording.unrepeatable.contains(&digest_of(call)) {
            return Err(Departure::Unrepeatable(call.to_string()));
        }
        self.position += 1;
        Ok(entry.result.clone())
    }

    /// Only who has asked them knows what other machines say.
    fn asks_changed_machines(&self, call: &Call) -> bool {
        let changed = &self.recording.changed;
        match call {
            Call::Machine { machine, .. } => changed.contains(machine),
            Call::Driver(operation) => {
                matches!(operation, DriverOperation::JoinAll {}) && !changed.is_empty()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::recorder::tests::{call, recording, slot};
    use super::*;

    #[test]
    fn calls_are_answered_until_one_differs() {
        let folder = tempfile::tempdir().unwrap();
        let calls = [("a", "one"), ("a", "two"), ("b", "three")];
        let mut player = Player::new(slot(&folder), recording(&calls));
        assert_eq!(player.answer(&call("a", "one"), None), Ok(json!("one")));
        let departure = player.answer(&call("a", "other"), None).unwrap_err();
        assert_eq!(
            departure.to_string(),
            "a.wait_for_file is another call than in the last run"
        );
        assert_eq!(player.answer(&call("a", "two"), None), Ok(json!("two")));
        player.recording.changed.insert("b".to_owned());
        assert!(player.answer(&call("b", "three"), None).is_err());
        assert_eq!(player.position, 2);
    }

    #[test]
    fn a_call_that_cannot_be_repeated_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let mut player = Player::new(slot(&folder), recording(&[("a", "one"), ("a", "two")]));
        let known = digest_of(&call("a", "two"));
        player.recording.unrepeatable.insert(known);
        assert!(player.answer(&call("a", "one"), None).is_ok());
        let departure = player.answer(&call("a", "two"), None).unwrap_err();
        assert_eq!(
            departure,
            Departure::Unrepeatable("a.wait_for_file".to_owned())
        );
    }

    #[test]
    fn files_of_the_host_are_part_of_a_call() {
        let folder = tempfile::tempdir().unwrap();
        let mut player = Player::new(slot(&folder), recording(&[("a", "copy")]));
        player.recording.entries[0].files = Some("1".to_owned());
        assert!(player.answer(&call("a", "copy"), Some("2")).is_err());
        assert_eq!(
            player.answer(&call("a", "copy"), Some("1")),
            Ok(json!("copy"))
        );
    }

    #[test]
    fn all_machines_are_not_answered_for_if_one_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let mut player = Player::new(slot(&folder), recording(&[("a", "one")]));
        let join = Call::Driver(DriverOperation::JoinAll {});
        player.recording.entries[0].call = join.clone();
        player.recording.changed.insert("b".to_owned());
        assert!(player.answer(&join, None).is_err());
        player.recording.changed.clear();
        assert_eq!(player.answer(&join, None), Ok(json!("one")));
    }
}
