//! The interface of all kinds of machines: the process, its console and its crashes.

mod accelerator;
mod console;
mod environment;
mod failure_watch;
mod nature;
mod process;

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;

use thiserror::Error;

pub use crate::network::Link;
pub use accelerator::Accelerator;
pub use console::Console;
pub use environment::EnvironmentAtStart;
pub use failure_watch::{FailureWatch, FaultReporter, MachineFailure, MachineFault};
pub use nature::{BackendNature, HostCost, Unfit, UnfitCause};
pub use process::{Exit, Launch, PATIENCE, Process, ProcessError};

use crate::confined::Owner;
use crate::model::manifest::BackendKind;
use crate::network::Links;

/// One way to run a machine: by QEMU, or as a container.
///
/// A backend starts one process, which is the machine as long as it runs. Its standard input and output are the serial
/// console, it connects the shell's sockets in the machine's folder, and it ends with the machine. Console, shell and
/// end are therefore the same for all backends.
pub trait Backend: fmt::Debug + Send + Sync {
    /// The kind of the machine.
    fn kind(&self) -> BackendKind;

    /// Returns the program to start for the next boot.
    ///
    /// Must be called on a thread of the runtime: what it starts beside may end with its thread.
    fn prepare(&self, boot: Boot) -> Prepared<'_>;

    /// Whether it can do something, or why not and what to do.
    ///
    /// # Errors
    /// Returns an error if it cannot.
    fn require(&self, ability: Ability) -> Result<(), Inability>;

    /// How its networks are plugged in and out.
    fn network_control(&self) -> NetworkControl;

    /// How the machine's processors are stopped and continued.
    fn freezer(&self) -> Freezer {
        Freezer::Signals
    }

    /// Returns the owner of files for the guest; `None` for virtual machines, which ignore the owner.
    fn guest_root(&self) -> Option<Owner>;

    /// Whether the kernel has refused the guest what is beyond a limit of this backend. The console says so, too, a
    /// moment later.
    fn is_at_limit(&self) -> bool {
        false
    }

    /// Removes what it has made for a boot that has ended.
    fn clean_up(&self);
}

/// The result of [`Backend::prepare`].
pub type Prepared<'a> = Pin<Box<dyn Future<Output = Result<Launch, BackendError>> + Send + 'a>>;

/// How a machine is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boot {
    pub on_reboot: OnReboot,
    pub from: BootFrom,
}

/// The reaction of a machine to a reboot of its guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnReboot {
    /// The machine ends: a reboot is a failure.
    End,
    Continue,
}

impl OnReboot {
    /// Returns the reaction that `start(allow_reboot=…)` asks for.
    #[must_use]
    pub fn allowed(is_allowed: bool) -> Self {
        if is_allowed {
            Self::Continue
        } else {
            Self::End
        }
    }
}

/// The state that a guest begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootFrom {
    Start,
    /// A state that is restored.
    Saved,
}

/// Something that not every backend can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// QEMU's monitor.
    Monitor,
    /// A keyboard to type on.
    Keyboard,
    /// A display to look at.
    Display,
    /// A socket of its SSH.
    SshBackdoor,
}

/// Why a machine cannot do something.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}: {remedy}")]
pub struct Inability {
    pub reason: &'static str,
    pub remedy: &'static str,
}

/// The remedy where SSH does not reach a machine.
pub const SHELL_INSTEAD: &str =
    "`snowglobe shell --running NODE` opens a shell while a test runs, without SSH";

/// How networks are plugged in and out.
#[derive(Debug)]
pub enum NetworkControl {
    /// By QEMU's monitor.
    Monitor,
    /// At the switch.
    Switch(Links),
}

/// How the processors of a machine are stopped and continued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freezer {
    /// By signals to the process of the machine.
    Signals,
    /// By the file of a control group, into which 1 or 0 is written.
    ControlGroup(PathBuf),
}

/// Why a machine cannot be started.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct BackendError {
    pub message: String,
}

impl BackendError {
    /// One for what went wrong.
    pub fn new(error: impl fmt::Display) -> Self {
        Self {
            message: error.to_string(),
        }
    }
}

/// The folder that only this guest has, in the machine's own.
pub const EXCHANGE_FOLDER: &str = "xchg";

/// Where a machine's files are.
#[derive(Debug, Clone)]
pub struct MachineFolders {
    /// Private: sockets, disks.
    pub state: PathBuf,
    /// Mounted in all guests.
    pub shared: PathBuf,
}

impl MachineFolders {
    #[must_use]
    pub fn exchange(&self) -> PathBuf {
        self.state.join(EXCHANGE_FOLDER)
    }
}
