//! The recording of a run: its calls with their results.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::checkpoint::{self, Checkpoint};
use crate::digest::Digest;
use crate::host::{Call, DriverOperation, Reading};

/// A call of a script, and what it gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedCall {
    pub call: Call,
    /// Stands for files of the host that it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<String>,
    pub result: Value,
}

/// The calls of a run, and its checkpoints.
pub type Recording = checkpoint::StoredRecording<RecordedCall>;

impl RecordedCall {
    /// Returns the monotonic clock's time that the call read, in nanoseconds; `None` for another call.
    pub(super) fn monotonic_reading(&self) -> Option<i64> {
        match self.call {
            Call::Driver(DriverOperation::Read {
                what: Reading::MonotonicNs,
            }) => self.result.as_i64(),
            _ => None,
        }
    }
}

/// Returns the digest of a call, by which a recording knows those that cannot be repeated.
pub(super) fn digest_of(call: &Call) -> String {
    let mut digest = Digest::default();
    digest.field(serde_json::to_vec(call).unwrap_or_default());
    digest.name()
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
        let concerns = |entry: &RecordedCall| match &entry.call {
            Call::Driver(_) => false,
            Call::Machine { machine, operation } => {
                !self.changed.contains(machine) && !operation.only_connects()
            }
        };
        !self.changed.is_empty() && since.is_some_and(|since| !since.iter().any(concerns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::tests::checkpoint;
    use crate::machine::Operation;

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
        let entry = |machine: &str| RecordedCall {
            call: if machine.is_empty() {
                Call::Driver(DriverOperation::StartAll {})
            } else {
                Call::Machine {
                    machine: machine.to_owned(),
                    operation: Operation::Shutdown {},
                }
            },
            files: None,
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
}
