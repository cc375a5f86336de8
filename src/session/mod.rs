//! One running test: its machines, networks, script, clock and output.

mod attach;
mod decide_backends;
mod disk_watch;
mod input;
mod mock;
mod persistent_state;
mod redeployment;
mod replay_plan;
mod saved_disks;
mod scratch;
mod stage;
mod stop_place;
mod supervision;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::backend::Unfit;
use crate::backends;
use crate::engine::{
    ChosenInterpreter, PythonError, Script, ScriptStop, interpreter_of, restore_terminal,
};
use crate::event_bus::Events;
use crate::model::event::{Event, Failure, Level, Verdict, round};
use crate::model::failed_units::about_failed;
use crate::model::manifest::{BackendKind, Manifest, Node};
use crate::output_folder::{SavedFile, console_log};
use crate::qemu::AcceleratorChoice;
use crate::replay::{Keeping, Replay, Restart};

pub use attach::{ATTACH_SOCKET, AttachReply, AttachRequest, MOST_LINE_BYTES, attach_line};
pub use decide_backends::{BackendDecision, decide_backends};
use decide_backends::{are_all_containers, proposal};
pub use input::{
    AttachPolicy, ChangedMachines, Film, ReplayMode, RunSettings, StopPlace, TestInput,
    TimeoutFactor,
};
use redeployment::redeployment;
use replay_plan::{ReplayPlan, emit_unknown_start};
pub use saved_disks::check_disks;
use stage::{Stage, StageNetworks};
use stop_place::{failed_line, find_stop};
use supervision::{EarlyEnd, judge};

pub use mock::{Mock, mock_run};
pub use scratch::{
    CLEANER, Scratch, folders_of_all_runs, folders_of_runs, name_of_run, tidy_up_after_parent,
};
pub use supervision::Interrupt;

/// Why a test could not be run.
#[derive(Debug, Error)]
pub enum SessionError {
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("the sockets of machine {machine} cannot be made: {source}")]
    Sockets { machine: String, source: io::Error },
    #[error("the test's temporary folder cannot be made: {0}")]
    Scratch(io::Error),
    #[error("virtual network {number} cannot be opened: {source}")]
    Network { number: u32, source: io::Error },
    #[error("the script engine cannot be started: {0}")]
    Engine(io::Error),
    #[error(transparent)]
    Python(#[from] PythonError),
    #[error(
        "the container `{0}` cannot be run: the built-in guests have none of `containers`; make it one of `nodes` with `virtualisation.backend = \"container\"`"
    )]
    Container(String),
    #[error("the disks in {folder} cannot be used: {reason}")]
    Disks { folder: PathBuf, reason: String },
    #[error("the persistent state of a machine, {folder}, cannot be used: {source}")]
    PersistentState { folder: PathBuf, source: io::Error },
    #[error("the run script of the machine `{0}` is not named run-NAME-vm")]
    StartScript(String),
    #[error(
        "the machine `{0}` was not built for what it is to be: a virtual machine, or a container"
    )]
    NotBuilt(String),
}

/// How a run ended, and where it had begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOutcome {
    pub verdict: Verdict,
    pub begun: StartPoint,
    /// The seed that the user has given the run.
    pub seed: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartPoint {
    Cold,
    FromCheckpoint,
}

/// One try at a run.
enum Attempt {
    Ended(Verdict),
    /// The run could not continue from the replay.
    Again(Restart),
}

/// Checks that the host has what the test's machines need.
///
/// # Errors
/// Returns an error if a node cannot be of its kind, or the host lacks what machines of a kind need.
pub fn preflight(manifest: &Manifest) -> Result<(), SessionError> {
    if let Some(name) = manifest.containers.keys().next() {
        return Err(SessionError::Container(name.clone()));
    }
    for kind in [BackendKind::Container, BackendKind::Vm] {
        let nature = backends::nature(kind);
        let nodes = manifest.nodes.iter();
        let nodes: Vec<(&String, &Node)> = nodes
            .filter(|(_, node)| node.kind() == Some(kind))
            .collect();
        for (name, node) in &nodes {
            nature.check_node(name, node)?;
        }
        let nodes: Vec<&Node> = nodes.into_iter().map(|(_, node)| node).collect();
        if !nodes.is_empty() {
            nature.check_host(&nodes)?;
        }
    }
    Ok(())
}

/// Runs a built test to its end and emits its events. Each message on `interrupts`
/// requests the end: the first lets the script clean up, the second does not.
///
/// # Errors
/// Returns an error if the test could not be begun.
pub async fn run(
    input: &TestInput,
    events: &Events,
    interrupts: &mut mpsc::UnboundedReceiver<Interrupt>,
) -> Result<RunOutcome, SessionError> {
    let manifest = &input.manifest;
    preflight(manifest)?;
    let interpreter = interpreter_of(input.settings.python.as_ref(), &manifest.python_packages)?;
    if let Some((input, plan)) = redeployment(input) {
        let setting = AttemptSetting {
            input: &input,
            interpreter: &interpreter,
            stop: None,
        };
        match attempt(&setting, &plan, events, interrupts).await? {
            Attempt::Ended(verdict) => {
                let begun = StartPoint::FromCheckpoint;
                let seed = input.seed.given();
                return Ok(RunOutcome {
                    verdict,
                    begun,
                    seed,
                });
            }
            Attempt::Again(restart) => {
                events.forget();
                let reason = match restart {
                    Restart::NoCheckpoint(reason)
                    | Restart::Unusable(reason)
                    | Restart::Unrepeatable { reason, .. } => reason,
                };
                let text = format!("{reason}: the changed machines boot");
                events.note(Level::Warning, text);
                forget_consoles(manifest, &input.output_folder);
            }
        }
    }
    let mut replay = ReplayPlan::of(input);
    let stop = find_stop(input, &interpreter, &replay, events, interrupts).await?;
    let setting = AttemptSetting {
        input,
        interpreter: &interpreter,
        stop,
    };
    loop {
        match attempt(&setting, &replay, events, interrupts).await? {
            Attempt::Ended(verdict) => {
                let begun = match replay {
                    ReplayPlan::Replaying(..) => StartPoint::FromCheckpoint,
                    _ => StartPoint::Cold,
                };
                let seed = input.seed.given();
                return Ok(RunOutcome {
                    verdict,
                    begun,
                    seed,
                });
            }
            Attempt::Again(restart) => {
                // The next attempt emits what was held back.
                events.forget();
                let (why_cold, unrepeatable) = match restart {
                    Restart::NoCheckpoint(reason) => (reason, None),
                    Restart::Unusable(reason) => (warn_of_restart(events, &reason), None),
                    Restart::Unrepeatable { reason, call } => {
                        (warn_of_restart(events, &reason), Some(call))
                    }
                };
                forget_consoles(manifest, &input.output_folder);
                replay = replay.cold(why_cold, unrepeatable);
            }
        }
    }
}

/// Warns of a checkpoint that cannot be used; returns why the run is cold.
fn warn_of_restart(events: &Events, reason: &str) -> String {
    let text = format!("{reason}: restarting without the checkpoint");
    events.note(Level::Warning, text);
    "the checkpoint cannot be used".to_owned()
}

/// Removes the consoles of machines that the test does not have any more.
fn forget_consoles(manifest: &Manifest, output_folder: &Path) {
    let names = manifest.nodes.keys();
    for name in names.filter_map(|node| manifest.machine_name(node)) {
        // None is there before the first line.
        let _ = std::fs::remove_file(console_log(output_folder, name));
    }
}

/// The parts that all attempts at a run have in common.
struct AttemptSetting<'a> {
    input: &'a TestInput,
    interpreter: &'a ChosenInterpreter,
    stop: Option<ScriptStop>,
}

async fn attempt(
    setting: &AttemptSetting<'_>,
    plan: &ReplayPlan,
    events: &Events,
    interrupts: &mut mpsc::UnboundedReceiver<Interrupt>,
) -> Result<Attempt, SessionError> {
    let AttemptSetting {
        input,
        interpreter,
        stop,
    } = *setting;
    let manifest = &input.manifest;
    let folder = input.output_folder.clone();
    events.keep_long_texts(move |name, text| {
        let file = SavedFile::at(&folder, Path::new(name)).ok()?;
        let written = file.folder.write(&file.name, text.as_bytes());
        written.ok().map(|()| file.path())
    });
    let mut stage = Stage::set_up(input, StageNetworks::Open, events)?;
    plan.emit(events);
    events.emit(Event::TestStarted {
        test: manifest.name.clone(),
        nodes: manifest.nodes.keys().cloned().collect(),
        accelerator: describe(input, interpreter),
        timeout_factor: input.timeout_factor(),
    });
    if input.seed.given().is_some() || draws_numbers(input.script.script()) {
        let seed = input.seed.number();
        events.emit(Event::Seeded { seed });
    }
    let checkpoints = stage.script_checkpoints(input);
    let replay = plan.replay(input, stage.host.clone(), checkpoints, stage.restarts());
    let replay = Arc::new(replay);
    let begin = Instant::now();
    let script = script(input, interpreter, stop);
    let cameras = stage.film(input.settings.film);
    let (ended, early_end) = stage.run(script, input, replay.clone(), interrupts).await?;
    drop(cameras);
    if let Some(EarlyEnd::Restart(restart)) = early_end {
        stage.stop_machines().await;
        return Ok(Attempt::Again(restart));
    }
    emit_unknown_start(events);
    let script_s = begin.elapsed().as_secs_f64();
    let took_too_long = matches!(early_end, Some(EarlyEnd::Timeout { .. }));
    let (verdict, mut failure) = judge(ended, early_end);
    if let Some(failure) = failure.as_mut().filter(|_| took_too_long) {
        let units = stage.failed_units().await;
        failure.message.push_str(&about_failed(&units));
        failure.details.failed_units = units;
    }
    if verdict != Verdict::SessionClosed {
        let text = format!("test script finished in {script_s:.2}s");
        events.note(Level::Info, text);
    }
    let (verdict, mut failures) = all_failures(&replay, verdict, failure).await;
    if input.settings.capture.saves(verdict)
        && let Some(path) = stage.host.save_last_packets()
        && let Some(failure) = failures.first_mut()
    {
        failure.files.push(path);
    }
    let (subtests, _) = stage.host.finished();
    let is_stopped = input.settings.stop.is_some() && plan.recording().is_some();
    let keeping = if is_stopped || plan.leaves_recording() {
        Keeping::Discarded
    } else {
        Keeping::Kept
    };
    let debug = input.settings.debug_command.clone();
    let debug = debug.filter(|_| verdict == Verdict::Failed && plan.is_recorded());
    let failed = failures
        .first()
        .and_then(|failure| failed_line(failure, input));
    replay.keep_recording(failed, keeping).await;
    stage.stop_machines().await;
    restore_terminal();
    events.emit(Event::ScriptSource {
        lines: input.script.lines(),
    });
    drop(replay);
    drop(stage);
    events.emit(Event::TestFinished {
        test: manifest.name.clone(),
        verdict,
        duration_s: round(begin.elapsed().as_secs_f64()),
        failures,
        subtests,
        output: input.output_folder.clone(),
        debug,
    });
    Ok(Attempt::Ended(verdict))
}

/// Whether a script seems to draw random numbers: it names what does.
fn draws_numbers(script: &str) -> bool {
    ["fault(", "chaos(", "random"]
        .iter()
        .any(|name| script.contains(name))
}

/// The failures that the script went on after, the one that ended it, and that of subtests that are missing; and
/// what they make of the verdict.
async fn all_failures(
    replay: &Replay,
    verdict: Verdict,
    failure: Option<Failure>,
) -> (Verdict, Vec<Failure>) {
    let host = replay.host();
    let (_, mut failures) = host.finished();
    match failure {
        // Its user waits for the end, and has seen what the machines say.
        Some(failure) if verdict == Verdict::Interrupted => failures.push(failure),
        Some(failure) => failures.push(host.complete(failure).await),
        None => {}
    }
    if verdict == Verdict::Passed {
        failures.extend(host.missing_subtest());
    }
    let verdict = match verdict {
        Verdict::Passed if !failures.is_empty() => Verdict::Failed,
        other => other,
    };
    (verdict, failures)
}

fn script(input: &TestInput, interpreter: &ChosenInterpreter, stop: Option<ScriptStop>) -> Script {
    Script {
        stop,
        source_map: input.script.clone(),
        python_packages: interpreter.packages.clone(),
        interpreter: interpreter.interpreter.clone(),
        further_modules: &[],
        timeout_factor: input.timeout_factor(),
        answers: serde_json::Value::Null,
    }
}

/// How the machines run, for people.
fn describe(input: &TestInput, interpreter: &ChosenInterpreter) -> String {
    let kinds = describe_kinds(input);
    let limits = describe_missing_limits(&input.manifest);
    [kinds]
        .into_iter()
        .chain(limits)
        .chain(interpreter.describe())
        .collect::<Vec<_>>()
        .join("; ")
}

fn describe_kinds(input: &TestInput) -> String {
    if are_all_containers(&input.manifest) {
        return "containers".to_owned();
    }
    let mut kinds: Vec<(AcceleratorChoice, Vec<&str>)> = Vec::new();
    for (name, choice) in input.accelerators() {
        match kinds.iter_mut().find(|(known, _)| *known == choice) {
            Some((_, names)) => names.push(name),
            None => kinds.push((choice, vec![name])),
        }
    }
    let kinds_text = match kinds.as_slice() {
        [(only, _)] => only.to_string(),
        several => {
            let parts = several.iter();
            let parts = parts.map(|(choice, names)| format!("{}: {choice}", names.join(", ")));
            parts.collect::<Vec<_>>().join("; ")
        }
    };
    let is_emulated = kinds.iter().any(|(choice, _)| choice.reason.is_some());
    let proposal = is_emulated
        .then(|| proposal(&input.manifest, input.script.script()))
        .flatten();
    match proposal {
        Some(proposal) => format!("{kinds_text}; {proposal}"),
        None => kinds_text,
    }
}

/// Names the resources of machines that this host does not limit; `None` if it limits all.
fn describe_missing_limits(manifest: &Manifest) -> Option<String> {
    let kinds: BTreeSet<BackendKind> = manifest.nodes.values().filter_map(Node::kind).collect();
    let mut kinds = kinds.into_iter();
    kinds.find_map(|kind| backends::nature(kind).missing_limits())
}
