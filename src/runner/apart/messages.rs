//! Messages to and from the process of a test.

use serde::{Deserialize, Serialize};

use crate::model::event::Record;
use crate::session::{RunOutcome, TestInput};

/// The message to the process of a test, on its standard input.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ToTest {
    pub input: TestInput,
    /// The moment from which the times of events count: see [`crate::event_bus::monotonic_ns`].
    pub start_ns: i64,
}

/// A line on the standard output of the process of a test.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromTest {
    Event(Record),
    Ended(RunOutcome),
    /// The test could not be begun.
    Failed(String),
}
