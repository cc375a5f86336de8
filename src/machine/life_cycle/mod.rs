//! The life of a machine: its process, its console, and what it may do as long as it runs.

mod console;
mod expected_crashes;
mod launch;
mod stop;
mod volatile_disks;
mod write_log;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::MachineContext;
use super::error::{MachineError, Overdue};
use crate::agent::ShellError;
use crate::backend::{Ability, Backend, Console, FailureWatch, MachineFailure, PATIENCE};
use crate::event_bus::Events;
use crate::model::event::{Event, round};
use crate::model::manifest::{BackendKind, Node};
use crate::output_folder;

pub use launch::Start;
pub(in crate::machine) use launch::{InitialState, Running};
pub use volatile_disks::LOSES_UNFLUSHED;

/// Something that takes time. Its end is an event, also if its caller has gone.
struct Step<'a> {
    id: u64,
    begin: Instant,
    events: &'a Events,
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.events.emit(Event::StepFinished {
            id: self.id,
            duration_s: round(self.begin.elapsed().as_secs_f64()),
        });
    }
}

static NEXT_STEP: AtomicU64 = AtomicU64::new(1);

/// The process that runs a machine, while there is one, and all that outlives it.
#[derive(Debug)]
pub struct LifeCycle {
    name: String,
    pub(in crate::machine) node: Node,
    pub(in crate::machine) backend: Box<dyn Backend>,
    pub(in crate::machine) context: MachineContext,
    console: Console,
    failure_watch: FailureWatch,
    running: Mutex<Option<Arc<Running>>>,
    /// Held while the machine is started: several callers may want that at once.
    starting: Arc<tokio::sync::Mutex<()>>,
}

impl LifeCycle {
    /// Returns a machine that is off.
    #[must_use]
    pub(in crate::machine) fn new(
        name: &str,
        node: &Node,
        backend: Box<dyn Backend>,
        context: MachineContext,
    ) -> Self {
        let failure_watch = FailureWatch::new(&context.script, context.faults.clone());
        Self {
            name: name.to_owned(),
            node: node.clone(),
            backend,
            console: Console::new(name, context.events.clone(), failure_watch.clone()),
            failure_watch,
            context,
            running: Mutex::default(),
            starting: Arc::default(),
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the machine has reached a limit, of which its console is about to speak.
    #[must_use]
    pub fn is_at_limit(&self) -> bool {
        self.backend.is_at_limit()
    }

    /// The kind of the machine.
    #[must_use]
    pub fn backend_kind(&self) -> BackendKind {
        self.backend.kind()
    }

    /// The private folder of the machine.
    #[must_use]
    pub fn state_folder(&self) -> &Path {
        &self.context.state_folder
    }

    #[must_use]
    pub fn console(&self) -> &Console {
        &self.console
    }

    pub(in crate::machine) fn current(&self) -> Option<Arc<Running>> {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(in crate::machine) fn running(&self) -> Result<Arc<Running>, MachineError> {
        self.current()
            .ok_or_else(|| MachineError::NotRunning(self.name.clone()))
    }

    /// Runs `work`, and emits events at its start and end.
    pub(in crate::machine) async fn step<T>(
        &self,
        text: String,
        work: impl Future<Output = Result<T, MachineError>>,
    ) -> Result<T, MachineError> {
        let events = &self.context.events;
        let id = NEXT_STEP.fetch_add(1, Ordering::Relaxed);
        events.emit(Event::StepStarted {
            id,
            machine: Some(self.name.clone()),
            text,
        });
        let _step = Step {
            id,
            begin: Instant::now(),
            events,
        };
        work.await
    }

    pub(in crate::machine) fn overdue(&self, what: &str, limit: Duration) -> Overdue {
        Overdue {
            what: format!("{what} on {}", self.name),
            limit,
            ..Overdue::default()
        }
    }

    /// Checks that the machine can do something.
    pub(in crate::machine) fn require(&self, ability: Ability) -> Result<(), MachineError> {
        self.backend
            .require(ability)
            .map_err(|inability| self.unable(inability.to_string()))
    }

    pub(in crate::machine) fn unable(&self, reason: impl Into<String>) -> MachineError {
        MachineError::Unable(self.name.clone(), reason.into())
    }

    /// Returns a path of a script relative to the output folder.
    ///
    /// # Errors
    /// Returns an error if the path leads out of the output folder.
    pub(in crate::machine) fn in_output(&self, name: &Path) -> Result<PathBuf, MachineError> {
        output_folder::relative(&self.context.output_folder, name)
            .map_err(|reason| self.unable(format!("cannot save to {}: {reason}", name.display())))
    }

    /// Runs `work` as long as the machine runs and has not crashed.
    ///
    /// # Errors
    /// Returns the error of `work`, or how the machine has ended.
    pub(in crate::machine) async fn guard<T>(
        &self,
        running: &Running,
        work: impl Future<Output = Result<T, MachineError>>,
    ) -> Result<T, MachineError> {
        let ended = async |exit| {
            // The last lines of the console may say why.
            let mut console_end = running.console_end.clone();
            let _ = tokio::time::timeout(PATIENCE, console_end.wait_for(|read| *read)).await;
            match self.failure_watch.failure() {
                Some(failure) => self.machine_failure(failure),
                None => MachineError::Ended {
                    machine: self.name.clone(),
                    exit,
                    panic: self.console.last_line_with("Kernel panic - "),
                },
            }
        };
        tokio::select! {
            biased;
            result = work => match result {
                // The shell is closed a moment before the process ends.
                Err(MachineError::Shell(ShellError::Closed)) => {
                    match tokio::time::timeout(PATIENCE, running.process.ended()).await {
                        Ok(exit) => Err(ended(exit).await),
                        Err(_) => Err(ShellError::Closed.into()),
                    }
                }
                other => other,
            },
            failure = self.failure_watch.failed() => Err(self.machine_failure(failure)),
            exit = running.process.ended() => Err(ended(exit).await),
        }
    }

    fn machine_failure(&self, failure: MachineFailure) -> MachineError {
        MachineError::Failed {
            machine: self.name.clone(),
            failure,
        }
    }
}
