//! Messages to and from the process of a test.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use crate::engine::RunMode;
use crate::host::{AfterFailure, Subtests};
use crate::machine::StateRetention;
use crate::model::event::Record;
use crate::model::manifest::Manifest;
use crate::qemu::AcceleratorChoice;
use crate::session::{Film, ReplayMode, RunOutcome, RunSettings};
use crate::source_map::{ScriptOrigin, SourceMap};

/// A test to run, on the standard input of its process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TestPlan {
    pub manifest: Manifest,
    script: String,
    origin: ScriptOrigin,
    only: Option<String>,
    after_failure: AfterFailure,
    pub global_timeout: Duration,
    timeout_factor: f64,
    replay: ReplayMode,
    states: StateRetention,
    film: Film,
    pub output_folder: PathBuf,
    run: u32,
    /// The moment from which the times of events count: see [`crate::event_bus::monotonic_ns`].
    pub start_ns: i64,
}

impl TestPlan {
    /// The plan of a test with settings that name no prompt.
    pub fn new(manifest: &Manifest, settings: &RunSettings, start_ns: i64) -> Self {
        let only = settings.subtests.only.as_ref();
        Self {
            manifest: manifest.clone(),
            script: settings.source_map.script().to_owned(),
            origin: settings.source_map.origin().clone(),
            only: only.map(|pattern| pattern.as_str().to_owned()),
            after_failure: settings.subtests.after_failure,
            global_timeout: settings.global_timeout,
            timeout_factor: settings.timeout_factor,
            replay: settings.past,
            states: settings.states,
            film: settings.film,
            output_folder: settings.output_folder.clone(),
            run: settings.run,
            start_ns,
        }
    }

    /// The settings again, in the process of the test.
    pub fn settings(&self) -> Result<RunSettings, regex_lite::Error> {
        let source_map = SourceMap::new(self.script.clone(), self.origin.clone());
        Ok(RunSettings {
            source_map: Arc::new(source_map),
            mode: RunMode::Script,
            subtests: Subtests {
                only: self.only.as_deref().map(Regex::new).transpose()?,
                after_failure: self.after_failure,
            },
            output_folder: self.output_folder.clone(),
            global_timeout: self.global_timeout,
            timeout_factor: self.timeout_factor,
            accelerator: AcceleratorChoice::detect(),
            past: self.replay,
            states: self.states,
            film: self.film,
            run: self.run,
        })
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
