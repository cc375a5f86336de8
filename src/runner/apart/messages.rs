//! Messages to and from the process of a test.

use serde::{Deserialize, Serialize};

use crate::event_bus::Events;
use crate::model::event::Record;
use crate::model::manifest::Manifest;
use crate::session::{RunOutcome, RunSettings};

/// A test to run, on the standard input of its process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TestInput {
    pub manifest: Manifest,
    pub settings: RunSettings,
    /// The moment from which the times of events count: see [`crate::event_bus::monotonic_ns`].
    pub start_ns: i64,
}

impl TestInput {
    /// Returns the plan of a test whose events are emitted here.
    pub fn new(manifest: &Manifest, settings: &RunSettings, events: &Events) -> Self {
        Self {
            manifest: manifest.clone(),
            settings: settings.clone(),
            start_ns: events.start_ns(),
        }
    }
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
