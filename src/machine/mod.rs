//! A machine of a test: starts, answers, waits, stops.

mod background;
mod commands;
mod conditions;
mod connection;
mod created;
mod display;
mod expected_failures;
mod files;
mod film;
mod keyboard;
mod launch;
mod lifecycle;
mod operation;
mod perform;
mod seconds;
mod snapshot;
mod terminal;
mod units;
mod waits;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::event_bus::Events;

use crate::agent::ShellError;
use crate::backend::{
    Ability, Backend, Console, Exit, FailureWatch, FaultReporter, MachineFailure, MachineFault,
    ProcessError,
};
use crate::full_disk::is_full_disk;
use crate::model::event::{Details, Event, round};
use crate::model::manifest::{BackendKind, Node, ShellOptions};
use crate::qemu::{QemuSettings, QmpError};

pub use commands::Setting;
use launch::Running;
pub use launch::Start;
pub use operation::{Operation, RecordPolicy};
pub use seconds::Seconds;
pub use snapshot::{Clock, Resting, Saved};

/// How many of a console's last lines go into messages.
pub const TAIL_LINES: usize = 20;

/// Why an operation on a machine did not come to its end.
#[derive(Debug, Error)]
pub enum MachineError {
    /// What the script wanted to be true is not.
    #[error("{message}")]
    Assertion {
        message: String,
        details: Box<Details>,
    },
    #[error(transparent)]
    Timeout(#[from] Box<Overdue>),
    #[error("machine {machine} has ended {exit}{}", because(.panic.as_deref()))]
    Ended {
        machine: String,
        exit: Exit,
        /// The message of the kernel, if it panicked.
        panic: Option<String>,
    },
    #[error("machine {machine} has crashed: {failure}")]
    Failed {
        machine: String,
        failure: MachineFailure,
    },
    #[error("machine {0} is not running: start it first")]
    NotRunning(String),
    #[error("command `{command}` on {machine} has no result: {source}")]
    Command {
        machine: String,
        command: String,
        source: ShellError,
    },
    #[error("machine {0} {1}")]
    Unable(String, String),
    #[error("machine {machine} cannot be started: {reason}")]
    Host { machine: String, reason: String },
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Qmp(#[from] QmpError),
    #[error(transparent)]
    Shell(#[from] ShellError),
    #[error("{path}: {source}")]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// What was waited for in vain.
#[derive(Debug, Default, Error)]
#[error("waiting for {what} took longer than {} s{hint}", .limit.as_secs_f64())]
pub struct Overdue {
    what: String,
    limit: Duration,
    /// The likely reason, if one is known.
    hint: String,
    details: Details,
}

impl Overdue {
    fn error(self) -> MachineError {
        Box::new(self).into()
    }
}

impl MachineError {
    /// Whether a command has no result because its shell has ended, or the
    /// guest has restarted, and there is another shell.
    fn has_lost_the_shell(&self) -> bool {
        let Self::Command { source, .. } = self else {
            return false;
        };
        matches!(
            source,
            ShellError::Killed | ShellError::Rebooted | ShellError::Stopping
        )
    }

    /// The fault of the host that is the reason, if it is one.
    fn host_fault(&self) -> Option<MachineFault> {
        match self {
            Self::File { source, .. } if is_full_disk(source) => {
                Some(MachineFault::DiskFull(self.to_string()))
            }
            Self::Host { reason, .. } => Some(MachineFault::Host(reason.clone())),
            // A program that is missing is the script's, which may name one.
            Self::Process(ProcessError::Start { source, .. })
                if source.kind() != std::io::ErrorKind::NotFound =>
            {
                Some(MachineFault::Host(self.to_string()))
            }
            _ => None,
        }
    }

    fn assertion(message: String) -> Self {
        Self::Assertion {
            message,
            details: Box::default(),
        }
    }

    /// What is known beyond the message.
    #[must_use]
    pub fn details(&self) -> Option<&Details> {
        match self {
            Self::Assertion { details, .. } => Some(details),
            Self::Timeout(overdue) => Some(&overdue.details),
            _ => None,
        }
    }
}

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

fn because(panic: Option<&str>) -> String {
    panic.map(|line| format!(": {line}")).unwrap_or_default()
}

/// How long what a machine has written is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateRetention {
    #[default]
    ThisRun,
    /// For a later run.
    Persistent,
}

/// What a machine needs to know of its context.
#[derive(Debug, Clone)]
pub struct MachineContext {
    pub events: Events,
    /// Where faults are reported, and the script, which may expect them.
    pub faults: FaultReporter,
    pub script: Arc<str>,
    pub shell_options: ShellOptions,
    /// Private folder for the machine's sockets and disks.
    pub state_folder: PathBuf,
    pub state_retention: StateRetention,
    /// Mounted in all guests.
    pub shared_folder: PathBuf,
    pub output_folder: PathBuf,
    /// For virtual machines.
    pub qemu: QemuSettings,
}

/// A machine, running or not.
#[derive(Debug)]
pub struct Machine {
    name: String,
    node: Node,
    backend: Box<dyn Backend>,
    context: MachineContext,
    console: Console,
    failure_watch: FailureWatch,
    running: Mutex<Option<Arc<Running>>>,
    /// Held while it is started: several may want that at once.
    starting: tokio::sync::Mutex<()>,
    /// Held by a command whose error output is kept until it is known how it ended.
    demanding: tokio::sync::Mutex<()>,
}

static NEXT_STEP: AtomicU64 = AtomicU64::new(1);

impl Machine {
    #[must_use]
    pub fn new(
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
            starting: tokio::sync::Mutex::default(),
            demanding: tokio::sync::Mutex::default(),
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

    /// What the machine is.
    #[must_use]
    pub fn backend_kind(&self) -> BackendKind {
        self.node.backend
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

    fn current(&self) -> Option<Arc<Running>> {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn running(&self) -> Result<Arc<Running>, MachineError> {
        self.current()
            .ok_or_else(|| MachineError::NotRunning(self.name.clone()))
    }

    /// Does `work`, and emits events at its start and end.
    async fn step<T>(
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

    fn overdue(&self, what: &str, limit: Duration) -> Overdue {
        Overdue {
            what: format!("{what} on {}", self.name),
            limit,
            ..Overdue::default()
        }
    }

    /// Whether the machine can do something.
    fn require(&self, ability: Ability) -> Result<(), MachineError> {
        self.backend
            .require(ability)
            .map_err(|inability| self.unable(inability.to_string()))
    }

    fn unable(&self, reason: impl Into<String>) -> MachineError {
        MachineError::Unable(self.name.clone(), reason.into())
    }
}
