//! The input of a run: a built test, its script, and the settings.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::{CPython, Interaction, RunMode, ScriptStop};
use crate::host::{CaptureMode, Seed, Subtests};
use crate::machine::StateRetention;
use crate::model::failed_units::FailedUnitPolicy;
use crate::model::manifest::{BackendKind, Manifest, Node};
use crate::qemu::{AcceleratorChoice, HostAccelerator};
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
    pub seed: Seed,
    /// The process of the run, which may have processes of its own for tests.
    pub run: u32,
    #[serde(skip, default = "HostAccelerator::detect")]
    pub host: HostAccelerator,
}

/// The settings of a run, as its user asks for them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunSettings {
    #[serde(skip)]
    pub mode: RunMode,
    /// The prompt of breakpoints; `None` if the user has no terminal.
    #[serde(skip)]
    pub breakpoints: Option<Arc<dyn Interaction>>,
    pub attach: AttachPolicy,
    /// Where the script stops for its user; `None` if it runs to its end.
    pub stop: Option<StopPlace>,
    pub subtests: Subtests,
    /// `None` for the test's own.
    pub global_timeout: Option<Duration>,
    pub timeout_factor: TimeoutFactor,
    pub failed_units: FailedUnitPolicy,
    /// The Python that runs the script; `None` for the embedded interpreter, or the CPython that the test's packages need.
    pub python: Option<CPython>,
    pub replay: ReplayMode,
    pub changed_machines: ChangedMachines,
    /// The output folder of a run whose saved disks the machines get.
    pub disks_from: Option<PathBuf>,
    /// The checkpoint or subtest that the run starts from; `None` for the last one that the script leads to.
    pub from: Option<String>,
    /// The command that opens the prompt before the failure of a test; `None` if there is none.
    pub debug_command: Option<String>,
    pub states: StateRetention,
    pub film: Film,
    pub capture: CaptureMode,
    /// The seed of everything random; `None` for another one in each run.
    pub seed: Option<Seed>,
}

/// Where a script stops for its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopPlace {
    At(ScriptStop),
    /// Before the statement that has failed in the last run; after one that fails, if none has.
    Failure,
}

/// The factor for default timeouts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum TimeoutFactor {
    /// By how fast the machines are.
    Auto,
    By(f64),
}

/// Where a script without a prompt waits for a user from another process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttachPolicy {
    #[default]
    Nowhere,
    AtBreakpoints,
    /// Where it fails, too.
    AtFailures,
}

/// Whether a run may start from a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplayMode {
    /// Earlier runs may be used, and this one is recorded.
    Enabled,
    /// The recording of an earlier run is used, and stays as it is: other runs use it at the same time.
    Beside,
    /// Nothing is used or recorded.
    Disabled,
    /// Replay does not apply to this command.
    NotApplicable,
}

/// The way of machines that have changed since the last run to their new system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangedMachines {
    #[default]
    Boot,
    /// `switch-to-configuration` activates the new system in the restored machine, if it is NixOS and sees the host's store.
    Redeploy,
}

/// Whether pictures of displays are taken for a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Film {
    /// As displays change.
    Taken,
    Off,
}

/// Returns the accelerators of the virtual machines of a test, by name.
pub(super) fn accelerators<'a>(
    manifest: &'a Manifest,
    host: &HostAccelerator,
) -> Vec<(&'a str, AcceleratorChoice)> {
    let nodes = manifest.nodes.iter();
    let machines = nodes.filter(|(_, node)| node.kind() == Some(BackendKind::Vm));
    let choices = machines.map(|(name, node)| (name.as_str(), host.of(node)));
    let mut choices: Vec<_> = choices.collect();
    if manifest.nodes.is_empty() {
        // The script may make machines.
        choices.push(("", host.of(&Node::of_script(PathBuf::new()))));
    }
    choices
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
            seed: settings.seed.unwrap_or_else(Seed::draw),
            settings,
            output_folder,
            run: std::process::id(),
            host: HostAccelerator::detect(),
        }
    }

    /// Returns the accelerators of the virtual machines, by name.
    #[must_use]
    pub fn accelerators(&self) -> Vec<(&str, AcceleratorChoice)> {
        accelerators(&self.manifest, &self.host)
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
            // That of the slowest machine.
            TimeoutFactor::Auto => {
                let factors = self.accelerators().into_iter();
                let factors = factors.map(|(_, choice)| choice.accelerator.slowness());
                factors.fold(1.0, f64::max)
            }
        }
    }
}
