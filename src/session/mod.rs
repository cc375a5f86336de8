//! One running test: its machines, networks, script, clock and output.

mod scratch;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::mpsc;

use crate::event::{ConsoleTail, Event, Events, Failure, Verdict, round};
use crate::machine::{Machine, Surroundings, TAIL_LINES};
use crate::manifest::Manifest;
use crate::network::Network;
use crate::qemu::{AcceleratorChoice, on_path};
use crate::script::{Ended, Engine, Folders, Host, Script};

pub use scratch::{JANITOR, Scratch, tidy_up_after_parent};

const QEMU: &str = "qemu-system-x86_64";

/// How long a script that was interrupted may take to clean up after itself.
const SCRIPT_GRACE: Duration = Duration::from_secs(10);

/// Why a test could not be run.
#[derive(Debug, Error)]
pub enum SessionError {
    #[error("QEMU is not installed: `{QEMU}' is not on PATH (Debian's package is qemu-system-x86)")]
    NoQemu,
    #[error("the test's temporary folder cannot be made: {0}")]
    Scratch(io::Error),
    #[error("virtual network {number} cannot be opened: {source}")]
    Network { number: u32, source: io::Error },
    #[error("the script {path} cannot be read: {source}")]
    Script { path: PathBuf, source: io::Error },
    #[error("the script engine cannot be started: {0}")]
    Engine(io::Error),
    #[error("the run script {0} is not named run-NAME-vm")]
    StartScript(PathBuf),
}

/// How a run is done.
#[derive(Debug, Clone)]
pub struct Options {
    pub output_folder: PathBuf,
    pub global_timeout: Duration,
    pub accelerator: AcceleratorChoice,
}

/// What ends a script early.
enum Cut {
    Timeout { limit: Duration, steps: Vec<String> },
    Interrupt,
}

/// Whether the machine has what the test's machines need.
///
/// # Errors
/// When QEMU is missing.
pub fn preflight(manifest: &Manifest) -> Result<(), SessionError> {
    let needed = manifest
        .nodes
        .values()
        .any(|node| node.guest.needs_host_qemu());
    if needed && on_path(QEMU).is_none() {
        return Err(SessionError::NoQemu);
    }
    Ok(())
}

/// Runs a built test to its end and tells of it. Each message on `interrupts`
/// is a wish to end: the first lets the script clean up, the second does not.
///
/// # Errors
/// When the test could not be begun.
pub async fn run(
    manifest: &Manifest,
    options: &Options,
    events: &Events,
    interrupts: &mut mpsc::UnboundedReceiver<()>,
) -> Result<Verdict, SessionError> {
    preflight(manifest)?;
    let source =
        std::fs::read_to_string(&manifest.test_script).map_err(|source| SessionError::Script {
            path: manifest.test_script.clone(),
            source,
        })?;
    let scratch = Scratch::create().map_err(SessionError::Scratch)?;
    let networks = open_networks(manifest, scratch.path())?;
    let machines = make_machines(manifest, options, events, &scratch, &networks)?;
    events.tell(Event::TestStarted {
        test: manifest.name.clone(),
        nodes: manifest.nodes.keys().cloned().collect(),
        accelerator: describe(&options.accelerator),
    });
    let host = Arc::new(Host::new(
        machines.clone(),
        manifest.vlans.clone(),
        events.clone(),
        Folders {
            output: options.output_folder.clone(),
            state: scratch.path().to_owned(),
            shared: scratch.shared(),
        },
    ));
    let begin = Instant::now();
    let engine = Engine::start(Script { source, host })
        .await
        .map_err(SessionError::Engine)?;
    let (ended, cut) = supervise(engine, options.global_timeout, events, interrupts).await;
    let script_s = begin.elapsed().as_secs_f64();
    events.note(
        crate::event::Level::Info,
        format!("test script finished in {script_s:.2}s"),
    );
    let (verdict, mut failure) = judge(ended, cut);
    if let Some(failure) = &mut failure {
        failure.console = consoles(&machines, &failure.message);
    }
    stop(&machines, events).await;
    drop(networks);
    drop(scratch);
    events.tell(Event::TestFinished {
        test: manifest.name.clone(),
        verdict,
        duration_s: round(begin.elapsed().as_secs_f64()),
        failure,
        output: options.output_folder.clone(),
    });
    Ok(verdict)
}

/// Waits for the script's end, and brings it about where something demands it.
async fn supervise(
    engine: Engine,
    limit: Duration,
    events: &Events,
    interrupts: &mut mpsc::UnboundedReceiver<()>,
) -> (Option<Ended>, Option<Cut>) {
    let Engine {
        interrupter,
        mut ended,
    } = engine;
    let cut = tokio::select! {
        result = &mut ended => return (result.ok(), None),
        () = tokio::time::sleep(limit) => Cut::Timeout { limit, steps: events.open_steps() },
        _ = interrupts.recv() => Cut::Interrupt,
    };
    let reason = match &cut {
        Cut::Timeout { .. } => "the test took too long",
        Cut::Interrupt => "the run was interrupted",
    };
    events.note(
        crate::event::Level::Warning,
        format!("{reason}: ending the script (once more: at once)"),
    );
    let ending = async {
        interrupter.interrupt(reason).await;
        (&mut ended).await.ok()
    };
    let result = tokio::select! {
        result = tokio::time::timeout(SCRIPT_GRACE, ending) => result.ok().flatten(),
        _ = interrupts.recv() => None,
    };
    (result, Some(cut))
}

fn judge(ended: Option<Ended>, cut: Option<Cut>) -> (Verdict, Option<Failure>) {
    match (cut, ended) {
        (Some(Cut::Interrupt), _) => (Verdict::Interrupted, None),
        (Some(Cut::Timeout { limit, steps }), _) => {
            let doing = if steps.is_empty() {
                "no machine was being waited for".to_owned()
            } else {
                format!("it was at: {}", steps.join("; "))
            };
            let message = format!(
                "the test took longer than {} s; {doing}",
                limit.as_secs_f64()
            );
            (Verdict::Failed, Some(failure("GlobalTimeout", message)))
        }
        (None, Some(Ended::Passed)) => (Verdict::Passed, None),
        (None, Some(Ended::Failed(failure))) => (Verdict::Failed, Some(failure)),
        (None, Some(Ended::Interrupted) | None) => {
            let message = "the script engine stopped without a result".to_owned();
            (Verdict::Broken, Some(failure("EngineError", message)))
        }
    }
}

fn failure(kind: &str, message: String) -> Failure {
    Failure {
        kind: kind.to_owned(),
        message,
        subtest: None,
        traceback: Vec::new(),
        console: Vec::new(),
    }
}

/// The ends of the consoles of the machines that a message names, or of those
/// that have ended.
fn consoles(machines: &BTreeMap<String, Arc<Machine>>, message: &str) -> Vec<ConsoleTail> {
    machines
        .values()
        .filter(|machine| machine.pid().is_some())
        .filter(|machine| !machine.is_up() || names(message, machine.name()))
        .map(|machine| ConsoleTail {
            machine: machine.name().to_owned(),
            lines: machine.console().tail(TAIL_LINES),
        })
        .filter(|tail| !tail.lines.is_empty())
        .collect()
}

fn names(message: &str, machine: &str) -> bool {
    message
        .split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_'))
        .any(|word| word == machine)
}

async fn stop(machines: &BTreeMap<String, Arc<Machine>>, events: &Events) {
    let begin = Instant::now();
    let info = |text: String| events.note(crate::event::Level::Info, text);
    info("cleaning up".to_owned());
    for machine in machines.values() {
        if let Some(pid) = machine.pid().filter(|_| machine.is_up()) {
            info(format!("killing {} (pid {pid})", machine.name()));
        }
        machine.release().await;
    }
    info(format!("({:.2} seconds)", begin.elapsed().as_secs_f64()));
}

fn open_networks(manifest: &Manifest, folder: &Path) -> Result<Vec<Network>, SessionError> {
    manifest
        .vlans
        .iter()
        .map(|number| {
            Network::open(folder, *number).map_err(|source| SessionError::Network {
                number: *number,
                source,
            })
        })
        .collect()
}

fn make_machines(
    manifest: &Manifest,
    options: &Options,
    events: &Events,
    scratch: &Scratch,
    networks: &[Network],
) -> Result<BTreeMap<String, Arc<Machine>>, SessionError> {
    let network_environment: Vec<(String, OsString)> = networks
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
        .collect();
    manifest
        .nodes
        .iter()
        .map(|(node_name, node)| {
            let name = node
                .machine_name()
                .ok_or_else(|| SessionError::StartScript(node.start_script.clone()))?;
            let state_folder = scratch.machine(name).map_err(SessionError::Scratch)?;
            let surroundings = Surroundings {
                events: events.clone(),
                accelerator: options.accelerator.accelerator,
                state_folder,
                shared_folder: scratch.shared(),
                output_folder: options.output_folder.clone(),
                network_environment: network_environment.clone(),
            };
            let machine = Machine::new(name, node, surroundings);
            Ok((node_name.clone(), Arc::new(machine)))
        })
        .collect()
}

fn describe(choice: &AcceleratorChoice) -> String {
    match choice.reason {
        None => choice.accelerator.to_string(),
        Some(reason) => format!("{}, emulated and slow: {reason}", choice.accelerator),
    }
}
