//! What API calls do: they reach the machines and emit events.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::long_output::{cut, is_long};
use super::replay::Replay;
use super::request::{DriverOperation, Request};
pub use super::subtests::Subtests;
use super::subtests::{SubtestEnd, SubtestStack};
use crate::event::{ConsoleTail, Details, Event, Events, Failure, Level, Subtest};
use crate::machine::{Machine, MachineError, OnReboot, Operation, TAIL_LINES};
use crate::output_folder::SavedFile;

/// How long a picture of a display may take.
const PICTURE_LIMIT: Duration = Duration::from_secs(5);

/// How much of a wrong argument is shown.
const SHOWN_CHARACTERS: usize = 200;

/// Everything a script can reach.
#[derive(Debug)]
pub struct Host {
    machines: Mutex<BTreeMap<String, Arc<Machine>>>,
    pub vlans: Vec<u32>,
    pub events: Events,
    pub output_folder: PathBuf,
    pub shared_folder: PathBuf,
    factory: MachineFactory,
    subtests: Mutex<SubtestStack>,
    pub(super) replay: Replay,
    /// How many failures were completed.
    completed: AtomicUsize,
}

/// Where the script finds its files.
#[derive(Debug)]
pub struct Folders {
    pub output: PathBuf,
    pub shared: PathBuf,
}

/// Makes machines that the test has no node for, from a command and a name.
pub struct MachineFactory(pub Box<Make>);

type Make = dyn Fn(&str, &str) -> Result<Arc<Machine>, MachineError> + Send + Sync;

impl std::fmt::Debug for MachineFactory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MachineFactory")
    }
}

/// Why a call failed, as the script sees it.
#[derive(Debug)]
pub struct CallError {
    /// The class of the exception in the test API.
    pub class: &'static str,
    pub message: String,
    pub details: Option<Box<Details>>,
}

impl Host {
    #[must_use]
    pub fn new(
        machines: BTreeMap<String, Arc<Machine>>,
        vlans: Vec<u32>,
        events: Events,
        folders: Folders,
        factory: MachineFactory,
        subtests: Subtests,
        replay: Replay,
    ) -> Self {
        Self {
            machines: Mutex::new(machines),
            vlans,
            events,
            output_folder: folders.output,
            shared_folder: folders.shared,
            factory,
            subtests: Mutex::new(SubtestStack::new(subtests)),
            replay,
            completed: AtomicUsize::default(),
        }
    }

    /// The machines by the names of their nodes.
    #[must_use]
    pub fn machines(&self) -> BTreeMap<String, Arc<Machine>> {
        lock(&self.machines).clone()
    }

    /// Subtests to go into because of others that are in them.
    pub(super) fn enter_subtests(&self, names: Vec<String>) {
        lock(&self.subtests).enter(names);
    }

    /// Which subtests are wanted.
    pub(super) fn subtests(&self) -> Subtests {
        lock(&self.subtests).wanted.clone()
    }

    /// The failure of a run with `--only` that has run no subtest.
    #[must_use]
    pub fn missing_subtest(&self) -> Option<Failure> {
        let subtests = lock(&self.subtests);
        let only = subtests.wanted.only.as_ref()?;
        let message = match subtests.skipped.as_slice() {
            _ if !subtests.done.is_empty() => return None,
            [] => format!(
                "no subtest matches {:?}: the script came to none",
                only.as_str()
            ),
            skipped => format!(
                "no subtest matches {:?}; there are: {}",
                only.as_str(),
                skipped.join(", ")
            ),
        };
        Some(Failure {
            kind: "NoSubtest".to_owned(),
            message,
            ..Failure::default()
        })
    }

    /// The subtests that have ended, and the failures that the script went on after.
    #[must_use]
    pub fn finished(&self) -> (Vec<Subtest>, Vec<Failure>) {
        let subtests = lock(&self.subtests);
        (subtests.done.clone(), subtests.failures.clone())
    }

    /// Adds to a failure what the script did not see: consoles,
    /// pictures, and whole outputs in files.
    pub async fn complete(&self, mut failure: Failure) -> Failure {
        if failure.subtest.is_none() {
            failure.subtest = lock(&self.subtests).at_failure();
        }
        // Later failures leave the files of earlier ones alone.
        let number = match self.completed.fetch_add(1, Ordering::Relaxed) {
            0 => String::new(),
            earlier => format!("-{}", earlier + 1),
        };
        let machines = self.machines();
        failure.console = consoles(&machines, &failure);
        if let Some(result) = &mut failure.details.command {
            for (name, text) in [
                ("stdout", &mut result.stdout),
                ("stderr", &mut result.stderr),
            ] {
                if is_long(text) {
                    let file = format!("failed-command{number}.{name}");
                    if let Ok(path) = self.save_file(&file, text.as_bytes()) {
                        failure.files.push(path.clone());
                        *text = cut(text, &path.display().to_string());
                    }
                }
            }
        }
        for machine in machines.values().filter(|machine| machine.is_up()) {
            let name = format!("failure-{}{number}.png", machine.name());
            let picture = machine.picture(Path::new(&name));
            // A machine without a display has nothing to show.
            if let Ok(Ok(path)) = tokio::time::timeout(PICTURE_LIMIT, picture).await {
                failure.files.push(path);
            }
        }
        failure
    }

    /// Writes a file of the output folder and returns its path.
    fn save_file(&self, name: &str, content: &[u8]) -> std::io::Result<PathBuf> {
        let file = SavedFile::at(&self.output_folder, Path::new(name))?;
        file.folder.write(&file.name, content)?;
        Ok(file.path())
    }

    /// Reads a call of the script's.
    pub(super) fn request(&self, target: &str, call: Value) -> Result<Request, CallError> {
        if target.is_empty() {
            return Ok(Request::Driver(parse(call)?));
        }
        let machine = self.named(target)?;
        let operation = parse(call.clone())?;
        if let Operation::SendShell { .. } | Operation::SendConsole { .. } = operation {
            return Ok(Request::Machine(machine, operation));
        }
        if let Some(text) = text_with_nul(&call) {
            return Err(CallError::machine(format!(
                "an argument holds a NUL byte, which no command or path can have: {:?}",
                text.chars().take(SHOWN_CHARACTERS).collect::<String>()
            )));
        }
        Ok(Request::Machine(machine, operation))
    }

    /// Executes a call.
    pub(super) async fn make(&self, request: Request) -> Result<Value, CallError> {
        let (machine, operation) = match request {
            Request::Driver(operation) => return self.drive(operation).await,
            Request::Machine(machine, operation) => (machine, operation),
        };
        Box::pin(machine.perform(operation))
            .await
            .map_err(|error| CallError {
                details: Some(Box::new(Details {
                    machine: Some(machine.name().to_owned()),
                    ..error.details().cloned().unwrap_or_default()
                })),
                ..CallError::from(error)
            })
    }

    /// A machine, by its node's name or its own.
    fn named(&self, name: &str) -> Result<Arc<Machine>, CallError> {
        let machines = lock(&self.machines);
        let found = machines
            .get(name)
            .or_else(|| machines.values().find(|machine| machine.name() == name));
        found
            .cloned()
            .ok_or_else(|| CallError::machine(format!("there is no machine {name}")))
    }

    /// Attaches the user's terminal to a shell on the machine that a failure is
    /// about, or on any that runs.
    pub(super) async fn attach_shell(&self, failure: &Failure) {
        let machines = self.machines();
        let concerned = failure.details.machine.as_deref();
        let machine = machines
            .values()
            .filter(|machine| machine.is_up())
            .max_by_key(|machine| Some(machine.name()) == concerned);
        let Some(machine) = machine else {
            let text = "no shell: no machine is running";
            self.events.note(Level::Warning, text);
            return;
        };
        if let Err(error) = Box::pin(machine.shell_interact(None)).await {
            self.events.note(Level::Error, error.to_string());
        }
    }

    async fn drive(&self, operation: DriverOperation) -> Result<Value, CallError> {
        match operation {
            DriverOperation::StartAll {} => {
                for machine in self.machines().values() {
                    machine.start(OnReboot::End, &[]).await?;
                }
            }
            DriverOperation::JoinAll {} => {
                for machine in self.machines().values() {
                    machine.wait_for_shutdown().await?;
                }
            }
            DriverOperation::CreateMachine { command, name } => {
                return self.create_machine(&command, name.as_deref());
            }
            DriverOperation::SubtestStarted { name } => {
                let runs = lock(&self.subtests).start(&name);
                self.events.emit(if runs {
                    Event::SubtestStarted { name }
                } else {
                    Event::SubtestSkipped { name }
                });
                return Ok(json!(runs));
            }
            DriverOperation::SubtestFinished { failure, r#final } => {
                let outcome = match (&failure, r#final) {
                    (None, _) => SubtestEnd::Passed,
                    (Some(_), true) => SubtestEnd::EndsScript,
                    (Some(_), false) => SubtestEnd::Failed,
                };
                return Ok(json!(self.finish_subtest(outcome, failure).await));
            }
            DriverOperation::ShowConsoles { machine, shown } => {
                let machine = machine.map(|name| self.named(&name)).transpose()?;
                self.events.emit(Event::ConsolesShown {
                    machine: machine.map(|machine| machine.name().to_owned()),
                    shown,
                });
            }
            DriverOperation::Note {
                machine,
                level,
                text,
            } => {
                self.events.emit(Event::Note {
                    machine,
                    level,
                    text,
                });
            }
            DriverOperation::Read { what } => {
                return Ok(what.now(self.replay.shift_ns.load(Ordering::Relaxed)));
            }
            DriverOperation::Sleep { seconds } => {
                let duration = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4);
                tokio::time::sleep(duration).await;
            }
            // The replay knows their results.
            DriverOperation::Checkpoint { .. } | DriverOperation::GoOutside {} => {}
            DriverOperation::Called {
                machine,
                method,
                arguments,
            } => {
                self.events.emit(Event::Called {
                    machine,
                    method,
                    arguments,
                });
            }
        }
        Ok(json!(null))
    }

    /// Emits the end of a subtest and returns whether the script continues.
    async fn finish_subtest(&self, outcome: SubtestEnd, mut failure: Option<Box<Failure>>) -> bool {
        let Some(finished) = lock(&self.subtests).finish(outcome) else {
            return true;
        };
        if let (None, Some(inner)) = (&failure, &finished.failed_inside) {
            failure = Some(Box::new(Failure {
                kind: "Subtest".to_owned(),
                message: format!("a subtest in it failed: {inner}"),
                subtest: Some(finished.subtest.name.clone()),
                ..Failure::default()
            }));
        } else if let Some(failed) = &mut failure {
            failed
                .subtest
                .get_or_insert_with(|| finished.subtest.name.clone());
            if finished.goes_on {
                **failed = self.complete((**failed).clone()).await;
                lock(&self.subtests).failures.push((**failed).clone());
            }
        }
        self.events.emit(Event::SubtestFinished {
            name: finished.subtest.name,
            duration_s: finished.subtest.duration_s,
            failure,
        });
        finished.goes_on
    }

    fn create_machine(&self, command: &str, name: Option<&str>) -> Result<Value, CallError> {
        let wanted = name.map(str::to_owned).or_else(|| name_in(command));
        let wanted = wanted.unwrap_or_else(|| "machine".to_owned());
        let mut machines = lock(&self.machines);
        let taken = |name: &str| {
            machines
                .iter()
                .any(|(node, machine)| node == name || machine.name() == name)
        };
        let mut name = wanted.clone();
        let mut number = 2;
        while taken(&name) {
            name = format!("{wanted}-{number}");
            number += 1;
        }
        let machine = (self.factory.0)(command, &name)?;
        let entry = json!({ "node": name, "name": name, "state_dir": machine.state_folder() });
        machines.insert(name, machine);
        Ok(entry)
    }
}

/// The NAME of a run script `run-NAME-vm` in a command.
fn name_in(command: &str) -> Option<String> {
    let words = command.split_whitespace();
    words
        .filter_map(|word| {
            word.rsplit('/')
                .next()?
                .strip_prefix("run-")?
                .strip_suffix("-vm")
        })
        .map(str::to_owned)
        .next()
}

/// The ends of the consoles of the machines that a failure is about: the one
/// whose operation failed, those that its message names, those that have ended.
fn consoles(machines: &BTreeMap<String, Arc<Machine>>, failure: &Failure) -> Vec<ConsoleTail> {
    machines
        .values()
        .filter(|machine| machine.pid().is_some())
        .filter(|machine| {
            failure.details.machine.as_deref() == Some(machine.name())
                || !machine.is_up()
                || names(&failure.message, machine.name())
        })
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

impl CallError {
    /// The work has panicked or was cancelled.
    pub(super) fn broken(error: &tokio::task::JoinError) -> Self {
        Self::machine(format!("this is a fault in snowglobe: {error}"))
    }

    fn machine(message: String) -> Self {
        Self {
            class: "MachineError",
            message,
            details: None,
        }
    }
}

impl From<MachineError> for CallError {
    fn from(error: MachineError) -> Self {
        let class = match error {
            MachineError::Assertion { .. } | MachineError::Timeout(_) => "RequestedAssertionFailed",
            MachineError::Failed { .. } => "MachineFailure",
            _ => "MachineError",
        };
        Self {
            class,
            message: error.to_string(),
            details: None,
        }
    }
}

/// A string with a NUL byte in the arguments of a call.
fn text_with_nul(arguments: &Value) -> Option<&str> {
    match arguments {
        Value::String(text) => text.contains('\0').then_some(text),
        Value::Array(items) => items.iter().find_map(text_with_nul),
        Value::Object(entries) => entries.values().find_map(text_with_nul),
        _ => None,
    }
}

fn parse<T: for<'a> Deserialize<'a>>(call: Value) -> Result<T, CallError> {
    serde_json::from_value(call)
        .map_err(|error| CallError::machine(format!("an argument is of the wrong kind: {error}")))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_scripts_tell_the_name() {
        assert_eq!(
            name_in("/nix/store/x/bin/run-web-1-vm -nographic"),
            Some("web-1".into())
        );
        assert_eq!(name_in("qemu-system-x86_64 -m 384"), None);
    }
}
