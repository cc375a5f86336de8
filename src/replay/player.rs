//! Answers calls from a recording.

use std::sync::Arc;

use serde_json::Value;

use super::recording::Recording;
use crate::checkpoint::Slot;
use crate::host::{Call, DriverOperation};

/// Answers the calls of a run as long as they are those of the recording.
#[derive(Debug)]
pub(super) struct Player {
    pub slot: Arc<Slot>,
    pub recording: Recording,
    /// How many calls are answered.
    pub position: usize,
}

impl Player {
    pub fn new(slot: Arc<Slot>, recording: Recording) -> Self {
        Self {
            slot,
            recording,
            position: 0,
        }
    }

    /// Returns the recorded result if the call is the next one in the recording.
    pub fn answer(&mut self, call: &Call, files: Option<&str>) -> Option<Value> {
        let entry = self.recording.entries.get(self.position)?;
        if self.asks_changed_machines(call)
            || entry.call != *call
            || entry.files.as_deref() != files
        {
            return None;
        }
        self.position += 1;
        Some(entry.result.clone())
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
        assert_eq!(player.answer(&call("a", "one"), None), Some(json!("one")));
        assert_eq!(player.answer(&call("a", "other"), None), None);
        assert_eq!(player.answer(&call("a", "two"), None), Some(json!("two")));
        player.recording.changed.insert("b".to_owned());
        assert_eq!(player.answer(&call("b", "three"), None), None);
        assert_eq!(player.position, 2);
    }

    #[test]
    fn files_of_the_host_are_part_of_a_call() {
        let folder = tempfile::tempdir().unwrap();
        let mut player = Player::new(slot(&folder), recording(&[("a", "copy")]));
        player.recording.entries[0].files = Some("1".to_owned());
        assert_eq!(player.answer(&call("a", "copy"), Some("2")), None);
        assert_eq!(
            player.answer(&call("a", "copy"), Some("1")),
            Some(json!("copy"))
        );
    }

    #[test]
    fn all_machines_are_not_answered_for_if_one_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let mut player = Player::new(slot(&folder), recording(&[("a", "one")]));
        let join = Call::Driver(DriverOperation::JoinAll {});
        player.recording.entries[0].call = join.clone();
        player.recording.changed.insert("b".to_owned());
        assert_eq!(player.answer(&join, None), None);
        player.recording.changed.clear();
        assert_eq!(player.answer(&join, None), Some(json!("one")));
    }
}
