//! The meaning of a failed unit for a test.

use serde::{Deserialize, Serialize};

use super::event::UnitState;

/// The consequence of a unit of systemd that fails while the script waits for something on its machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailedUnitPolicy {
    /// The user is warned.
    #[default]
    Warn,
    /// The wait ends, with the failure of the unit as its error.
    Fail,
    /// Nothing.
    Ignore,
}

/// Continues a sentence with the names of units that have failed; empty for none.
#[must_use]
pub fn about_failed(units: &[UnitState]) -> String {
    let names: Vec<&str> = units.iter().map(|state| &*state.unit).collect();
    match names.as_slice() {
        [] => String::new(),
        [only] => format!("; unit {only} has failed"),
        several => format!("; units {} have failed", several.join(", ")),
    }
}
