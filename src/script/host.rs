//! What a script's words lead to: the machines, and the stream of events.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::event::{Event, Events, Level, round};
use crate::machine::{Machine, MachineError, OnReboot, Operation};

/// Everything a script can reach.
#[derive(Debug)]
pub struct Host {
    pub machines: BTreeMap<String, Arc<Machine>>,
    pub vlans: Vec<u32>,
    pub events: Events,
    pub output_folder: PathBuf,
    pub state_folder: PathBuf,
    pub shared_folder: PathBuf,
    subtests: Mutex<Vec<(String, Instant)>>,
    /// The subtest that failed, once one has.
    failed_subtest: Mutex<Option<String>>,
}

/// What is asked of the driver itself.
#[derive(Debug, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case", deny_unknown_fields)]
enum DriverOperation {
    StartAll {},
    JoinAll {},
    SubtestStarted {
        name: String,
    },
    SubtestFinished {
        error: Option<String>,
    },
    Note {
        machine: Option<String>,
        level: Level,
        text: String,
    },
}

/// Why a call did not come to its end, as the script is to see it.
#[derive(Debug)]
pub struct CallError {
    /// The exception's class in the prelude.
    pub class: &'static str,
    pub message: String,
}

impl Host {
    #[must_use]
    pub fn new(
        machines: BTreeMap<String, Arc<Machine>>,
        vlans: Vec<u32>,
        events: Events,
        folders: Folders,
    ) -> Self {
        Self {
            machines,
            vlans,
            events,
            output_folder: folders.output,
            state_folder: folders.state,
            shared_folder: folders.shared,
            subtests: Mutex::default(),
            failed_subtest: Mutex::default(),
        }
    }

    /// The innermost subtest that is running, or else the one that failed.
    #[must_use]
    pub fn subtest(&self) -> Option<String> {
        let running = lock(&self.subtests).last().map(|(name, _)| name.clone());
        running.or_else(|| lock(&self.failed_subtest).clone())
    }

    /// Does what the script asks of a machine, or of the driver where `target`
    /// is empty.
    pub(super) async fn call(&self, target: &str, call: Value) -> Result<Value, CallError> {
        if target.is_empty() {
            let operation = parse(call)?;
            return self.drive(operation).await;
        }
        let machine = self.machines.get(target).ok_or_else(|| CallError {
            class: "MachineError",
            message: format!("there is no machine {target}"),
        })?;
        let operation: Operation = parse(call)?;
        machine.perform(operation).await.map_err(CallError::from)
    }

    async fn drive(&self, operation: DriverOperation) -> Result<Value, CallError> {
        match operation {
            DriverOperation::StartAll {} => {
                for machine in self.machines.values() {
                    machine.start(OnReboot::End).await?;
                }
            }
            DriverOperation::JoinAll {} => {
                for machine in self.machines.values() {
                    machine.wait_for_shutdown().await?;
                }
            }
            DriverOperation::SubtestStarted { name } => {
                self.events
                    .tell(Event::SubtestStarted { name: name.clone() });
                lock(&self.subtests).push((name, Instant::now()));
            }
            DriverOperation::SubtestFinished { error } => {
                if let Some((name, begin)) = lock(&self.subtests).pop() {
                    if error.is_some() {
                        lock(&self.failed_subtest).get_or_insert_with(|| name.clone());
                    }
                    self.events.tell(Event::SubtestFinished {
                        name,
                        duration_s: round(begin.elapsed().as_secs_f64()),
                        error,
                    });
                }
            }
            DriverOperation::Note {
                machine,
                level,
                text,
            } => {
                self.events.tell(Event::Note {
                    machine,
                    level,
                    text,
                });
            }
        }
        Ok(json!(null))
    }
}

/// Where the script finds its files.
#[derive(Debug)]
pub struct Folders {
    pub output: PathBuf,
    pub state: PathBuf,
    pub shared: PathBuf,
}

impl From<MachineError> for CallError {
    fn from(error: MachineError) -> Self {
        let class = match error {
            MachineError::Assertion(_) | MachineError::Timeout { .. } => "RequestedAssertionFailed",
            _ => "MachineError",
        };
        Self {
            class,
            message: error.to_string(),
        }
    }
}

fn parse<T: for<'a> Deserialize<'a>>(call: Value) -> Result<T, CallError> {
    serde_json::from_value(call).map_err(|error| CallError {
        class: "MachineError",
        message: format!("an argument is of the wrong kind: {error}"),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
