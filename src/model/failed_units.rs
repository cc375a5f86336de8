//! The meaning of a failed unit for a test.

use serde::{Deserialize, Serialize};

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
