//! One running test: its machines, networks, script, clock and output.

mod persistent_state;
mod replay_plan;
mod scratch;
mod supervision;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::mpsc;

use crate::child::on_path;
use crate::event::{Event, Events, Failure, Level, Verdict, round};
use crate::folders::private_temporary_folder;
use crate::language::MOCK_API;
use crate::machine::{EnvironmentAtStart, Machine, MachineContext, StateRetention};
use crate::manifest::Manifest;
use crate::network::{Faults, Network};
use crate::output_folder::console_log;
use crate::qemu::{AcceleratorChoice, FaultReporter};
use crate::script::{
    Engine, Folders, Host, MachineFactory, Replay, Restart, RunMode, Script, Subtests,
    python_packages, restore_terminal,
};
use crate::source_map::SourceMap;

use persistent_state::PersistentState;
use replay_plan::{ReplayPlan, tell_late};
use supervision::{EarlyEnd, FaultChannels, judge, supervise};

pub use replay_plan::ReplayMode;
pub use scratch::{CLEANER, Scratch, tidy_up_after_parent};
pub use supervision::Interrupt;

const QEMU: &str = "qemu-system-x86_64";

/// Why a test could not be run.
#[derive(Debug, Error)]
pub enum SessionError {
    #[error("QEMU is not installed: `{QEMU}` is not on PATH (Debian's package is qemu-system-x86)")]
    NoQemu,
    #[error("the test's temporary folder cannot be made: {0}")]
    Scratch(io::Error),
    #[error("virtual network {number} cannot be opened: {source}")]
    Network { number: u32, source: io::Error },
    #[error("the script engine cannot be started: {0}")]
    Engine(io::Error),
    #[error(
        "the test's container `{0}` cannot be run: containers (systemd-nspawn) are not supported yet"
    )]
    Container(String),
    #[error("the persistent state of a machine, {folder}, cannot be used: {source}")]
    PersistentState { folder: PathBuf, source: io::Error },
    #[error("the run script {0} is not named run-NAME-vm")]
    StartScript(PathBuf),
}

/// How a run is done.
#[derive(Debug, Clone)]
pub struct RunSettings {
    pub source_map: Arc<SourceMap>,
    pub mode: RunMode,
    pub subtests: Subtests,
    pub output_folder: PathBuf,
    pub global_timeout: Duration,
    /// The factor for default timeouts.
    pub timeout_factor: f64,
    pub accelerator: AcceleratorChoice,
    pub past: ReplayMode,
    pub states: StateRetention,
}

/// How a run ended, and where it had begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunOutcome {
    pub verdict: Verdict,
    pub begun: StartPoint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartPoint {
    Cold,
    FromCheckpoint,
}

/// One try at a run.
enum Attempt {
    Ended(Verdict),
    /// It could not continue from the replay.
    Again(Restart),
}

/// Whether the machine has what the test's machines need.
///
/// # Errors
/// When QEMU is missing, or a node is of a kind that cannot be run.
pub fn preflight(manifest: &Manifest) -> Result<(), SessionError> {
    if let Some(name) = manifest.containers.keys().next() {
        return Err(SessionError::Container(name.clone()));
    }
    let needed = manifest
        .nodes
        .values()
        .any(|node| node.guest.needs_host_qemu());
    if needed && on_path(QEMU).is_none() {
        return Err(SessionError::NoQemu);
    }
    Ok(())
}

/// Runs a built test to its end and emits its events. Each message on `interrupts`
/// requests the end: the first lets the script clean up, the second does not.
///
/// # Errors
/// When the test could not be begun.
pub async fn run(
    manifest: &Manifest,
    options: &RunSettings,
    events: &Events,
    interrupts: &mut mpsc::UnboundedReceiver<Interrupt>,
) -> Result<RunOutcome, SessionError> {
    preflight(manifest)?;
    let mut replay = ReplayPlan::of(options.past, manifest, &options.accelerator);
    loop {
        match attempt(manifest, options, &replay, events, interrupts).await? {
            Attempt::Ended(verdict) => {
                let begun = match replay {
                    ReplayPlan::Replaying(..) => StartPoint::FromCheckpoint,
                    _ => StartPoint::Cold,
                };
                return Ok(RunOutcome { verdict, begun });
            }
            Attempt::Again(restart) => {
                // The next attempt emits what was held back.
                events.forget();
                if let Some(reason) = restart.reason {
                    events.note(
                        Level::Warning,
                        format!("{reason}: restarting without the checkpoint"),
                    );
                }
                forget_consoles(manifest, &options.output_folder);
                replay = replay.cold();
            }
        }
    }
}

/// They are those of machines that the test has not been run on.
fn forget_consoles(manifest: &Manifest, output_folder: &Path) {
    let names = manifest.nodes.keys();
    for name in names.filter_map(|node| manifest.machine_name(node)) {
        // None is there before the first line.
        let _ = std::fs::remove_file(console_log(output_folder, name));
    }
}

async fn attempt(
    manifest: &Manifest,
    options: &RunSettings,
    replay: &ReplayPlan,
    events: &Events,
    interrupts: &mut mpsc::UnboundedReceiver<Interrupt>,
) -> Result<Attempt, SessionError> {
    let scratch = Scratch::create().map_err(SessionError::Scratch)?;
    let (faults, faulty_networks) = mpsc::unbounded_channel();
    let networks = open_networks(manifest, scratch.path(), &faults)?;
    let (faults, machine_faults) = mpsc::unbounded_channel();
    let (restart, restarts) = mpsc::unbounded_channel();
    let shared = around(options, events, FaultReporter(faults), &scratch, &networks);
    let mut persistent = PersistentState::default();
    let machines = make_machines(manifest, &shared, |name| match options.states {
        StateRetention::ThisRun => scratch.machine(name).map_err(SessionError::Scratch),
        StateRetention::Persistent => persistent.machine(&scratch::base(), name),
    })?;
    replay.emit(events);
    events.emit(Event::TestStarted {
        test: manifest.name.clone(),
        nodes: manifest.nodes.keys().cloned().collect(),
        accelerator: describe(&options.accelerator),
        timeout_factor: options.timeout_factor,
    });
    let host = Arc::new(Host::new(
        machines,
        manifest.vlans.clone(),
        events.clone(),
        Folders {
            output: options.output_folder.clone(),
            shared: scratch.shared(),
        },
        factory(shared, &scratch),
        options.subtests.clone(),
        replay.replay(restart),
    ));
    let begin = Instant::now();
    let engine = Engine::start(script(manifest, options), host.clone())
        .await
        .map_err(SessionError::Engine)?;
    let (ended, early_end) = supervise(
        engine,
        options.global_timeout,
        events,
        interrupts,
        FaultChannels {
            machine_faults,
            restarts,
            networks: faulty_networks,
        },
    )
    .await;
    if let Some(EarlyEnd::Restart(restart)) = early_end {
        stop(&host.machines(), events).await;
        return Ok(Attempt::Again(restart));
    }
    tell_late(events);
    let script_s = begin.elapsed().as_secs_f64();
    let machines = host.machines();
    let machine_of = |pid: i32| {
        let pid = u32::try_from(pid).ok();
        let mut machines = machines.values();
        let machine = machines.find(|machine| pid.is_some() && machine.pid() == pid)?;
        Some(machine.name().to_owned())
    };
    let (mut verdict, failure) = judge(ended, early_end, machine_of);
    if verdict != Verdict::SessionClosed {
        let text = format!("test script finished in {script_s:.2}s");
        events.note(Level::Info, text);
    }
    let (subtests, mut failures) = host.finished();
    if let Some(failure) = failure {
        failures.push(host.complete(failure).await);
    }
    if verdict == Verdict::Passed {
        failures.extend(host.missing_subtest());
    }
    if verdict == Verdict::Passed && !failures.is_empty() {
        verdict = Verdict::Failed;
    }
    host.keep_record().await;
    stop(&host.machines(), events).await;
    restore_terminal();
    drop(host);
    drop(networks);
    drop(scratch);
    drop(persistent);
    events.emit(Event::TestFinished {
        test: manifest.name.clone(),
        verdict,
        duration_s: round(begin.elapsed().as_secs_f64()),
        failures,
        subtests,
        output: options.output_folder.clone(),
    });
    Ok(Attempt::Ended(verdict))
}

fn script(manifest: &Manifest, options: &RunSettings) -> Script {
    Script {
        source_map: options.source_map.clone(),
        mode: options.mode.clone(),
        python_packages: python_packages(&manifest.python_packages),
        further_modules: &[],
        timeout_factor: options.timeout_factor,
        answers: serde_json::Value::Null,
    }
}

/// Runs a script over machines that only write down what is asked of them.
///
/// # Errors
/// When there is no room for its folders, or no thread for its engine.
pub async fn mock_run(
    source_map: Arc<SourceMap>,
    mock: Mock,
    events: &Events,
    interrupts: &mut mpsc::UnboundedReceiver<Interrupt>,
) -> Result<(Verdict, Option<Failure>), SessionError> {
    let folder = private_temporary_folder().map_err(SessionError::Scratch)?;
    let (faults, machine_faults) = mpsc::unbounded_channel();
    let (_, restarts) = mpsc::unbounded_channel();
    let (_, networks) = mpsc::unbounded_channel();
    let context = MachineContext {
        events: events.clone(),
        faults: FaultReporter(faults),
        script: source_map.script().into(),
        accelerator: AcceleratorChoice::detect().accelerator,
        state_folder: folder.path().to_owned(),
        state_retention: StateRetention::ThisRun,
        shared_folder: folder.path().to_owned(),
        output_folder: folder.path().to_owned(),
        environment: Arc::new(EnvironmentAtStart::now()),
        network_environment: Vec::new(),
    };
    let root = folder.path().to_owned();
    let make = move |command: &str, name: &str| {
        Machine::from_command(command, name, &root, context.clone())
    };
    let mut machines = BTreeMap::new();
    for node in &mock.nodes {
        let machine =
            make("false", node).map_err(|error| SessionError::Scratch(io::Error::other(error)))?;
        machines.insert(node.clone(), machine);
    }
    let folders = Folders {
        output: folder.path().to_owned(),
        shared: folder.path().to_owned(),
    };
    let factory = MachineFactory(Box::new(make));
    let host = Host::new(
        machines,
        mock.vlans,
        events.clone(),
        folders,
        factory,
        Subtests::default(),
        Replay::none(),
    );
    let script = Script {
        source_map,
        mode: RunMode::Script,
        python_packages: python_packages(&[]),
        further_modules: &MOCK_API,
        timeout_factor: 1.0,
        answers: mock.answers,
    };
    let engine = Engine::start(script, Arc::new(host))
        .await
        .map_err(SessionError::Engine)?;
    let (ended, early_end) = supervise(
        engine,
        mock.limit,
        events,
        interrupts,
        FaultChannels {
            machine_faults,
            restarts,
            networks,
        },
    )
    .await;
    Ok(judge(ended, early_end, |_| None))
}

/// What [`mock_run`] runs a script over.
#[derive(Debug)]
pub struct Mock {
    pub nodes: Vec<String>,
    pub vlans: Vec<u32>,
    /// By method, or by machine, method and first argument.
    pub answers: serde_json::Value,
    pub limit: Duration,
}

async fn stop(machines: &BTreeMap<String, Arc<Machine>>, events: &Events) {
    let begin = Instant::now();
    let info = |text: String| events.note(Level::Info, text);
    info("cleaning up".to_owned());
    for machine in machines.values() {
        if let Some(pid) = machine.pid().filter(|_| machine.is_up()) {
            info(format!("killing {} (pid {pid})", machine.name()));
        }
        machine.release().await;
    }
    info(format!("({:.2} seconds)", begin.elapsed().as_secs_f64()));
}

fn open_networks(
    manifest: &Manifest,
    folder: &Path,
    faults: &Faults,
) -> Result<Vec<Network>, SessionError> {
    manifest
        .vlans
        .iter()
        .map(|number| {
            Network::open(folder, *number, faults.clone()).map_err(|source| SessionError::Network {
                number: *number,
                source,
            })
        })
        .collect()
}

fn make_machines(
    manifest: &Manifest,
    shared: &MachineContext,
    mut state_folder: impl FnMut(&str) -> Result<PathBuf, SessionError>,
) -> Result<BTreeMap<String, Arc<Machine>>, SessionError> {
    manifest
        .nodes
        .iter()
        .map(|(node_name, node)| {
            let name = manifest
                .machine_name(node_name)
                .ok_or_else(|| SessionError::StartScript(node.start_script.clone()))?;
            let context = MachineContext {
                state_folder: state_folder(name)?,
                ..shared.clone()
            };
            let machine = Machine::new(name, node, context);
            Ok((node_name.clone(), Arc::new(machine)))
        })
        .collect()
}

/// What all machines of a test share.
fn around(
    options: &RunSettings,
    events: &Events,
    faults: FaultReporter,
    scratch: &Scratch,
    networks: &[Network],
) -> MachineContext {
    MachineContext {
        events: events.clone(),
        faults,
        script: options.source_map.script().into(),
        accelerator: options.accelerator.accelerator,
        state_folder: PathBuf::new(),
        state_retention: options.states,
        shared_folder: scratch.shared(),
        output_folder: options.output_folder.clone(),
        environment: Arc::new(EnvironmentAtStart::now()),
        network_environment: network_environment(networks),
    }
}

fn network_environment(networks: &[Network]) -> Vec<(String, OsString)> {
    networks
        .iter()
        .flat_map(|network| {
            let number = network.number();
            [
                (
                    format!("QEMU_VDE_SOCKET_{number}"),
                    network.vde_folder().into(),
                ),
                (
                    format!("SNOWGLOBE_STREAM_SOCKET_{number}"),
                    network.stream_socket().into(),
                ),
            ]
        })
        .collect()
}

/// Makes the machines that a script asks for beyond its nodes.
fn factory(context: MachineContext, scratch: &Scratch) -> MachineFactory {
    let folder = scratch.path().to_owned();
    MachineFactory(Box::new(move |command, name| {
        Machine::from_command(command, name, &folder, context.clone())
    }))
}

fn describe(choice: &AcceleratorChoice) -> String {
    match choice.reason {
        None => choice.accelerator.to_string(),
        Some(reason) => format!("{} emulation: {reason}", choice.accelerator),
    }
}
