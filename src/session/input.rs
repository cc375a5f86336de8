//! The input of a run: a built test, its script, and the settings.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::decide_backends::are_all_containers;
use crate::engine::{Interaction, RunMode};
use crate::host::Subtests;
use crate::machine::StateRetention;
use crate::model::failed_units::FailedUnitPolicy;
use crate::model::manifest::Manifest;
use crate::qemu::AcceleratorChoice;
use crate::source_map::SourceMap;

/// A built test and how to run it. The process of a test gets one on its standard input; that process has no prompt, and
/// looks for the accelerator itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TestInput {
    pub manifest: Manifest,
    /// The script to run: that of the test, or another one.
    pub script: Arc<SourceMap>,
    pub settings: RunSettings,
    pub output_folder: PathBuf,
    /// The process of the run, which may have processes of its own for tests.
    pub run: u32,
    #[serde(skip, default = "AcceleratorChoice::detect")]
    pub accelerator: AcceleratorChoice,
}

/// The settings of a run, as its user asks for them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunSettings {
    #[serde(skip)]
    pub mode: RunMode,
    /// The prompt of breakpoints; `None` if the user has no terminal.
    #[serde(skip)]
    pub breakpoints: Option<Arc<dyn Interaction>>,
    pub subtests: Subtests,
    /// `None` for the test's own.
    pub global_timeout: Option<Duration>,
    pub timeout_factor: TimeoutFactor,
    pub failed_units: FailedUnitPolicy,
    pub replay: ReplayMode,
    pub states: StateRetention,
    pub film: Film,
}

/// The factor for default timeouts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum TimeoutFactor {
    /// By how fast the machines are.
    Auto,
    By(f64),
}

/// Whether a run may start from a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplayMode {
    /// Earlier runs may be used, and this one is recorded.
    Enabled,
    /// Nothing is used or recorded.
    Disabled,
    /// Replay does not apply to this command.
    NotApplicable,
}

/// Whether pictures of displays are taken for a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Film {
    /// As displays change.
    Taken,
    Off,
}

impl TestInput {
    /// Returns the input of a run in this process, with the accelerator that the host has.
    #[must_use]
    pub fn new(
        manifest: Manifest,
        script: Arc<SourceMap>,
        settings: RunSettings,
        output_folder: PathBuf,
    ) -> Self {
        Self {
            manifest,
            script,
            settings,
            output_folder,
            run: std::process::id(),
            accelerator: AcceleratorChoice::detect(),
        }
    }

    /// Returns the limit of the whole test.
    #[must_use]
    pub fn global_timeout(&self) -> Duration {
        let of_test = Duration::from_secs(self.manifest.global_timeout_s);
        self.settings.global_timeout.unwrap_or(of_test)
    }

    /// Returns the factor for default timeouts.
    #[must_use]
    pub fn timeout_factor(&self) -> f64 {
        match self.settings.timeout_factor {
            TimeoutFactor::By(factor) => factor,
            TimeoutFactor::Auto if are_all_containers(&self.manifest) => 1.0,
            TimeoutFactor::Auto => self.accelerator.accelerator.slowness(),
        }
    }
}
