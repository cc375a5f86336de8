//! Errors of operations on machines.

use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::shell::AwaitedPort;
use crate::agent::ShellError;
use crate::backend::{Exit, MachineFailure, MachineFault, ProcessError};
use crate::full_disk::is_full_disk;
use crate::model::event::Details;
use crate::qemu::QmpError;

/// Why an operation on a machine did not come to its end.
#[derive(Debug, Error)]
pub enum MachineError {
    /// An assertion of the script is not true.
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

/// A wait that has run out of time.
#[derive(Debug, Default, Error)]
#[error("waiting for {what} took longer than {} s{hint}", .limit.as_secs_f64())]
pub struct Overdue {
    pub(super) what: String,
    pub(super) limit: Duration,
    /// The likely reason, if one is known.
    pub hint: String,
    pub(super) details: Details,
    /// The port that was waited for, if it was one.
    pub port: Option<AwaitedPort>,
}

impl Overdue {
    pub(super) fn error(self) -> MachineError {
        Box::new(self).into()
    }
}

impl MachineError {
    /// Whether a command has no result because its shell has ended, or the
    /// guest has restarted, and there is another shell.
    pub(super) fn has_lost_the_shell(&self) -> bool {
        let Self::Command { source, .. } = self else {
            return false;
        };
        matches!(
            source,
            ShellError::Killed | ShellError::Rebooted | ShellError::Stopping
        )
    }

    /// The fault of the host that is the reason, if it is one.
    pub(super) fn host_fault(&self) -> Option<MachineFault> {
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

    pub(super) fn assertion(message: String) -> Self {
        Self::Assertion {
            message,
            details: Box::default(),
        }
    }

    /// Returns details beyond the message.
    #[must_use]
    pub fn details(&self) -> Option<&Details> {
        match self {
            Self::Assertion { details, .. } => Some(details),
            Self::Timeout(overdue) => Some(&overdue.details),
            _ => None,
        }
    }
}

fn because(panic: Option<&str>) -> String {
    panic.map(|line| format!(": {line}")).unwrap_or_default()
}

/// Returns the error of a file.
pub(super) fn at(path: &Path, source: std::io::Error) -> MachineError {
    MachineError::File {
        path: path.to_owned(),
        source,
    }
}
