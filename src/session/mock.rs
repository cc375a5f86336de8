//! Runs a script over machines that are never started: they only write down what is asked of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::stage::{Stage, StageNetworks};
use super::supervision::{Interrupt, judge};
use super::{
    AttachPolicy, ChangedMachines, Film, ReplayMode, RunSettings, SessionError, TestInput,
    TimeoutFactor,
};
use crate::engine::{PythonPackages, RunMode, Script, ScriptInterpreter};
use crate::event_bus::Events;
use crate::folders::private_temporary_folder;
use crate::host::{CaptureMode, Subtests};
use crate::language::MOCK_MODULE;
use crate::machine::StateRetention;
use crate::model::event::{Failure, Verdict};
use crate::model::failed_units::FailedUnitPolicy;
use crate::model::manifest::{Manifest, Node};
use crate::replay::Replay;
use crate::source_map::SourceMap;

/// The subject of [`mock_run`].
#[derive(Debug)]
pub struct Mock {
    pub nodes: Vec<String>,
    pub vlans: Vec<u32>,
    /// By method, or by machine, method and first argument.
    pub answers: serde_json::Value,
    pub limit: Duration,
}

/// Runs a script over mock machines.
///
/// # Errors
/// Returns an error if there is no room for its folders, or no thread for its engine.
pub async fn mock_run(
    source_map: Arc<SourceMap>,
    mock: Mock,
    events: &Events,
    interrupts: &mut mpsc::UnboundedReceiver<Interrupt>,
) -> Result<(Verdict, Option<Failure>), SessionError> {
    let output = private_temporary_folder().map_err(SessionError::Scratch)?;
    let settings = RunSettings {
        mode: RunMode::Script,
        breakpoints: None,
        attach: AttachPolicy::Nowhere,
        stop: None,
        subtests: Subtests::default(),
        global_timeout: Some(mock.limit),
        timeout_factor: TimeoutFactor::By(1.0),
        failed_units: FailedUnitPolicy::Ignore,
        python: None,
        replay: ReplayMode::NotApplicable,
        changed_machines: ChangedMachines::Boot,
        disks_from: None,
        from: None,
        debug_command: None,
        states: StateRetention::ThisRun,
        film: Film::Off,
        capture: CaptureMode::Never,
        seed: None,
    };
    let answers = mock.answers.clone();
    let folder = output.path().to_owned();
    let input = TestInput::new(manifest(mock), source_map.clone(), settings, folder);
    let script = Script {
        source_map,
        python_packages: PythonPackages::new(),
        interpreter: ScriptInterpreter::Embedded,
        further_modules: &[MOCK_MODULE],
        stop: None,
        timeout_factor: input.timeout_factor(),
        answers,
    };
    let mut stage = Stage::set_up(&input, StageNetworks::InNameOnly, events)?;
    let checkpoints = stage.script_checkpoints(&input);
    let replay = Arc::new(Replay::none(stage.host.clone(), checkpoints));
    let (ended, early_end) = stage.run(script, &input, replay, interrupts).await?;
    Ok(judge(ended, early_end))
}

fn manifest(mock: Mock) -> Manifest {
    let node = |name: String| {
        let start_script = PathBuf::from(format!("run-{}-vm", name.replace('/', "-")));
        (name, Node::of_script(start_script))
    };
    Manifest {
        vlans: mock.vlans,
        ..Manifest::of_script(Path::new(""), mock.nodes.into_iter().map(node).collect())
    }
}
