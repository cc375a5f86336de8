//! Starts a machine.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::process::ChildStdout;
use tokio::sync::{Mutex, OnceCell, watch};
use tokio::task::JoinHandle;

use super::LifeCycle;
use super::volatile_disks::{LOSES_UNFLUSHED, VolatileDisk, log_writes};
use crate::agent::{GuestSide, Shell, ShellSockets};
use crate::backend::{Ability, Boot, BootFrom, EXCHANGE_FOLDER, MachineFault, OnReboot, Process};
use crate::folders::create_private;
use crate::machine::MachineError;
use crate::model::event::Event;
use crate::output_folder::console_log;
use crate::qemu::{Protocol, Qmp, QmpError, SCRIPTS_MONITOR};

/// How long the console is read on after the machine has ended.
const CONSOLE_GRACE: Duration = Duration::from_secs(2);

/// How a machine is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    pub on_reboot: OnReboot,
    /// Crashes that do not end the test.
    pub allowed: Vec<String>,
}

/// The state in which a guest starts.
#[derive(Debug, Clone)]
pub(in crate::machine) enum InitialState {
    Boot,
    /// The guest continues as it was saved, when QEMU resumes it.
    Saved(GuestSide),
}

/// One boot of a machine.
#[derive(Debug)]
pub(in crate::machine) struct Running {
    pub process: Arc<Process>,
    pub start: Start,
    pub guest: GuestSide,
    pub started: Instant,
    pub monitor_socket: PathBuf,
    pub monitor: OnceCell<Qmp>,
    /// The monitor that scripts speak with.
    pub protocol: OnceCell<Protocol>,
    pub shell_sockets: ShellSockets,
    pub shell: OnceCell<Shell>,
    /// Reads the console to its end and emits the machine's.
    pub epilogue: Mutex<Option<JoinHandle<()>>>,
    /// True when the console was read to its end.
    pub console_end: watch::Receiver<bool>,
    /// Whether the guest's shell has said that it is ready.
    pub connected: Mutex<bool>,
    /// The disks whose writes are logged; not set if no disk's are.
    pub volatile_disks: OnceLock<Vec<VolatileDisk>>,
}

impl Running {
    pub fn start(&self) -> &Start {
        &self.start
    }

    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Takes note that the guest's shell answers.
    pub async fn set_connected(&self) {
        *self.connected.lock().await = true;
    }

    /// The private folder of the machine.
    fn folder(&self) -> &Path {
        self.monitor_socket.parent().unwrap_or(Path::new(""))
    }

    /// Waits until QEMU has stopped the guest because the host has no room for what it
    /// writes; returns the disk. Connects to the scripts' monitor, from the start on, so
    /// that they miss no event.
    async fn full_disk(&self) -> Result<String, QmpError> {
        self.protocol().await?.full_disk().await
    }

    pub async fn protocol(&self) -> Result<&Protocol, QmpError> {
        let socket = self.monitor_socket.with_file_name(SCRIPTS_MONITOR);
        self.protocol
            .get_or_try_init(|| Protocol::connect(&socket))
            .await
    }
}

impl LifeCycle {
    /// Starts the machine, unless it runs already. Does not wait for the guest. The
    /// crashes that are `allowed` do not end the test.
    ///
    /// # Errors
    /// Returns an error if it cannot be started.
    pub async fn start(
        self: &Arc<Self>,
        on_reboot: OnReboot,
        allowed: &[String],
    ) -> Result<(), MachineError> {
        let start = Start {
            on_reboot,
            allowed: allowed.to_owned(),
        };
        self.begin(start, InitialState::Boot).await
    }

    /// Starts the machine, unless it runs already.
    pub(in crate::machine) async fn begin(
        self: &Arc<Self>,
        start: Start,
        initial: InitialState,
    ) -> Result<(), MachineError> {
        let starting = self.starting.clone().lock_owned().await;
        if self.is_up() {
            return Ok(());
        }
        self.failure_watch
            .begin(&start.allowed)
            .map_err(|error| self.unable(format!("cannot watch for that: {error}")))?;
        let machine = self.clone();
        // The machine dies with the thread that starts it: one of the runtime's own,
        // never a thread of the script.
        let launch = async move {
            let launched = machine.launch(start, initial).await;
            // Also if no caller waits any more: the next one is to see what this one has started.
            drop(starting);
            launched
        };
        let launched = tokio::spawn(launch)
            .await
            .map_err(|error| self.unable(format!("could not be started: {error}")))?;
        self.report_host_fault(launched.as_ref().err());
        launched
    }

    /// Reports a fault of the host that an operation has met: it is no failure of the test, whatever the script makes of
    /// the error.
    pub(in crate::machine) fn report_host_fault(&self, error: Option<&MachineError>) {
        if let Some(fault) = error.and_then(MachineError::host_fault) {
            self.failure_watch.report(&self.name, fault);
        }
    }

    pub(in crate::machine) fn console_log(&self) -> PathBuf {
        console_log(&self.context.output_folder, &self.name)
    }

    async fn launch(&self, start: Start, initial: InitialState) -> Result<(), MachineError> {
        let folder = &self.context.state_folder;
        let file_error = |source| MachineError::File {
            path: folder.clone(),
            source,
        };
        create_private(&folder.join(EXCHANGE_FOLDER)).map_err(file_error)?;
        let shell_sockets = ShellSockets::listen(folder).map_err(file_error)?;
        let monitor_socket = folder.join("qmp");
        let boot = Boot {
            on_reboot: start.on_reboot,
            from: match initial {
                InitialState::Boot => BootFrom::Start,
                InitialState::Saved(_) => BootFrom::Saved,
            },
        };
        let launch = self.backend.prepare(boot).await;
        let launch = launch.map_err(|error| MachineError::Host {
            machine: self.name.clone(),
            reason: error.to_string(),
        })?;
        let (process, output) = Process::start(&launch)?;
        self.context.events.emit(Event::MachineStarted {
            machine: self.name.clone(),
            pid: process.pid(),
        });
        let (epilogue, console_end) = self.follow(&process, output);
        let running = Running {
            process,
            start,
            guest: match initial {
                InitialState::Boot => GuestSide::Boots,
                InitialState::Saved(guest) => guest,
            },
            started: Instant::now(),
            monitor_socket,
            monitor: OnceCell::new(),
            protocol: OnceCell::new(),
            shell_sockets,
            shell: OnceCell::new(),
            epilogue: Mutex::new(Some(epilogue)),
            connected: Mutex::new(false),
            volatile_disks: OnceLock::new(),
            console_end,
        };
        let running = Arc::new(running);
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running.clone());
        let loses_unflushed = self.context.script.contains(LOSES_UNFLUSHED);
        if loses_unflushed && self.backend.require(Ability::Monitor).is_ok() {
            self.log_writes(&running).await?;
        }
        if self.backend.require(Ability::Monitor).is_ok() {
            let failure_watch = self.failure_watch.clone();
            let name = self.name.clone();
            tokio::spawn(async move {
                tokio::select! {
                    Ok(disk) = running.full_disk() => {
                        let what = format!("its disk {disk} in {}", running.folder().display());
                        failure_watch.report(&name, MachineFault::DiskFull(what));
                    }
                    _ = running.process.ended() => {}
                }
            });
        }
        Ok(())
    }

    /// Has QEMU log the writes to all disks, so that a crash can lose the unflushed ones.
    async fn log_writes(&self, running: &Running) -> Result<(), MachineError> {
        let logged = self
            .guard(running, async {
                let protocol = running.protocol().await?;
                Ok(log_writes(protocol, running.folder()).await)
            })
            .await?;
        match logged {
            Ok(disks) => {
                let _ = running.volatile_disks.set(disks);
                Ok(())
            }
            Err(error) => {
                running.process.kill().await;
                let reason = format!("cannot log the writes to its disks: {error}");
                Err(self.unable(reason))
            }
        }
    }

    /// Reads the console of a process to its end, and emits the machine's.
    fn follow(
        &self,
        process: &Arc<Process>,
        output: ChildStdout,
    ) -> (JoinHandle<()>, watch::Receiver<bool>) {
        let events = self.context.events.clone();
        let log = self.console_log();
        let console = self.console.clone();
        let name = self.name.clone();
        let process = process.clone();
        let failure_watch = self.failure_watch.clone();
        let (console_read, console_end) = watch::channel(false);
        let epilogue = tokio::spawn(async move {
            let reading = tokio::spawn(async move { console.follow(output, &log).await });
            let exit = process.ended().await;
            let _ = tokio::time::timeout(CONSOLE_GRACE, reading).await;
            let wanted = exit.wanted();
            // Before a call that waits for this end can make the script fail.
            if !wanted {
                failure_watch.report(&name, MachineFault::Died(exit.clone()));
            }
            console_read.send_replace(true);
            events.emit(Event::MachineStopped {
                machine: name,
                status: exit.status,
                wanted,
            });
        });
        (epilogue, console_end)
    }
}
