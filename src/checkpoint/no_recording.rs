//! Why there is no recording that a run could continue from.

use std::collections::BTreeSet;

use thiserror::Error;

/// Why a slot has no recording to continue from.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoRecording {
    /// As far as the slot knows.
    #[error("the test has not run before")]
    FirstRun,
    #[error("the recording of the last run cannot be read")]
    Unreadable,
    /// All machines have changed, or one of them if the script rewinds its machines.
    #[error("{} changed since the last run", named(.0))]
    Changed(BTreeSet<String>),
    #[error("the checkpoints of the last run are damaged")]
    Damaged,
    #[error("the last run could take no checkpoint: {0}")]
    Obstacle(String),
    /// The run was too short, for example: see `replay::recorder`.
    #[error("the last run took no checkpoint (`checkpoint(NAME)` in the script takes one)")]
    NoneTaken,
    #[error("the last run took no checkpoint `{name}`; it took: {known}")]
    NoSuchCheckpoint { name: String, known: String },
    #[error("the last run had {0}")]
    Elsewhere(String),
}

fn named(machines: &BTreeSet<String>) -> String {
    let names = machines
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    match machines.len() {
        1 => format!("machine {names} has"),
        _ => format!("machines {names} have"),
    }
}
