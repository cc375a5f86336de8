//! Starting, reaching and stopping a machine.

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, OnceCell, watch};
use tokio::task::JoinHandle;

use super::files::EXCHANGE_ON_HOST;
use super::{Machine, MachineError, StateRetention};
use crate::event::{Event, round};
use crate::folders::create_private;
use crate::output_folder::console_log;
use crate::qemu::{
    Accelerator, Exit, Expect, GuestSide, Launch, Link, MachineFailure, MachineFault, PATIENCE,
    Process, Protocol, Qmp, QmpError, Shell, ShellError, ShellSockets,
};

/// How long the console is read on after QEMU has ended.
const CONSOLE_GRACE: Duration = Duration::from_secs(2);

/// What QEMU does when the guest reboots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnReboot {
    /// It ends, as where a reboot is a failure.
    End,
    Continue,
}

/// How a machine is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    pub on_reboot: OnReboot,
    /// Crashes that do not end the test.
    pub allowed: Vec<String>,
}

/// What a guest does first.
#[derive(Debug, Clone)]
pub(super) enum InitialState {
    Boot,
    /// It continues as it was saved, when QEMU resumes it.
    Saved(GuestSide),
}

/// One run of QEMU.
#[derive(Debug)]
pub(super) struct Running {
    pub process: Arc<Process>,
    start: Start,
    guest: GuestSide,
    started: Instant,
    monitor_socket: PathBuf,
    monitor: OnceCell<Qmp>,
    /// The monitor that scripts speak with.
    protocol: OnceCell<Protocol>,
    shell_sockets: ShellSockets,
    shell: OnceCell<Shell>,
    /// Reads the console to its end and emits the machine's.
    epilogue: Mutex<Option<JoinHandle<()>>>,
    /// True when the console was read to its end.
    console_end: watch::Receiver<bool>,
    /// Whether the guest's shell has said that it is ready.
    connected: Mutex<bool>,
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

    pub async fn protocol(&self) -> Result<&Protocol, QmpError> {
        let socket = self.monitor_socket.with_file_name(SCRIPTS_MONITOR);
        self.protocol
            .get_or_try_init(|| Protocol::connect(&socket))
            .await
    }
}

/// The socket of the monitor that scripts speak with.
const SCRIPTS_MONITOR: &str = "qmp-script";

impl Machine {
    /// Starts QEMU, unless it runs already. Does not wait for the guest. The
    /// crashes that are `allowed` do not end the test.
    ///
    /// # Errors
    /// When the run script cannot be started.
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

    /// Starts QEMU, unless it runs already.
    pub(super) async fn begin(
        self: &Arc<Self>,
        start: Start,
        initial: InitialState,
    ) -> Result<(), MachineError> {
        let _starting = self.starting.lock().await;
        if self.is_up() {
            return Ok(());
        }
        self.failure_watch
            .begin(&start.allowed)
            .map_err(|error| self.unable(format!("cannot watch for that: {error}")))?;
        let machine = self.clone();
        // QEMU dies with the thread that starts it: one of the runtime's own,
        // never a thread of the script.
        tokio::spawn(async move { machine.launch(start, initial) })
            .await
            .map_err(|error| self.unable(format!("could not be started: {error}")))?
    }

    pub(super) fn console_log(&self) -> PathBuf {
        console_log(&self.context.output_folder, &self.name)
    }

    fn launch(&self, start: Start, initial: InitialState) -> Result<(), MachineError> {
        let folder = &self.context.state_folder;
        let file_error = |source| MachineError::File {
            path: folder.clone(),
            source,
        };
        create_private(&folder.join(EXCHANGE_ON_HOST)).map_err(file_error)?;
        let shell_sockets = ShellSockets::listen(folder).map_err(file_error)?;
        let monitor_socket = folder.join("qmp");
        let launch = Launch {
            script: self.node.start_script.clone(),
            folder: folder.clone(),
            environment: self.environment(start.on_reboot, &initial),
        };
        let (process, output) = Process::start(&launch)?;
        let events = self.context.events.clone();
        events.emit(Event::MachineStarted {
            machine: self.name.clone(),
            pid: process.pid(),
        });
        let log = self.console_log();
        let console = self.console.clone();
        let name = self.name.clone();
        let watched = process.clone();
        let failure_watch = self.failure_watch.clone();
        let (console_read, console_end) = watch::channel(false);
        let epilogue = tokio::spawn(async move {
            let reading = tokio::spawn(async move { console.follow(output, &log).await });
            let exit = watched.ended().await;
            let _ = tokio::time::timeout(CONSOLE_GRACE, reading).await;
            console_read.send_replace(true);
            if !exit.wanted() {
                failure_watch.report(&name, MachineFault::Died(exit.clone()));
            }
            events.emit(Event::MachineStopped {
                machine: name,
                status: exit.status,
            });
        });
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
            console_end,
        };
        let running = Arc::new(running);
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running.clone());
        // From the start, so that scripts miss no event.
        tokio::spawn(async move {
            tokio::select! {
                _ = running.protocol() => {}
                _ = running.process.ended() => {}
            }
        });
        Ok(())
    }

    /// What run scripts read, as the contract in the manual tells.
    fn environment(
        &self,
        on_reboot: OnReboot,
        initial: &InitialState,
    ) -> Vec<(OsString, OsString)> {
        let here = &self.context;
        let mut options = vec![
            "-qmp unix:qmp,server=on,wait=off",
            "-qmp unix:qmp-script,server=on,wait=off",
            "-device virtio-rng-pci",
            "-serial stdio",
        ];
        let shell = ShellSockets::arguments();
        options.extend(shell.iter().map(String::as_str));
        if on_reboot == OnReboot::End {
            options.push("-no-reboot");
        }
        if self.node.snapshot_safe {
            // Notifies the kernel that it was restored: its random numbers are
            // to be others than those of the last time.
            options.push("-device vmgenid,guid=auto");
        }
        if matches!(initial, InitialState::Saved(_)) {
            options.push("-incoming defer");
        }
        if here.accelerator == Accelerator::Tcg {
            // A run script of NixOS would take the first that opens.
            options.push("-machine accel=tcg");
        }
        if self.node.guest == crate::manifest::Guest::Nixos {
            options.push("-nographic");
        }
        let given = std::env::var("QEMU_OPTS").ok();
        options.extend(given.as_deref());
        let mut environment = here.environment.for_run_script();
        environment.extend([
            ("TMPDIR".into(), here.state_folder.clone().into()),
            ("USE_TMPDIR".into(), "1".into()),
            ("SHARED_DIR".into(), here.shared_folder.clone().into()),
            ("QEMU_OPTS".into(), options.join(" ").into()),
        ]);
        let networks = here.network_environment.iter().cloned();
        environment.extend(networks.map(|(name, value)| (name.into(), value)));
        environment
    }

    /// Whether QEMU runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.current()
            .is_some_and(|running| running.process.exit().is_none())
    }

    /// The process number of QEMU.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.current().map(|running| running.process.pid())
    }

    /// Waits until the guest's shell answers; starts the machine if it is off.
    ///
    /// # Errors
    /// When the machine ends before.
    pub async fn connect(self: &Arc<Self>) -> Result<(), MachineError> {
        self.start(OnReboot::End, &[]).await?;
        let running = self.running()?;
        let mut connected = running.connected.lock().await;
        if *connected {
            return Ok(());
        }
        let text = "waiting for the guest to finish booting".to_owned();
        self.step(text, async {
            let shell = self.shell(&running).await?;
            self.guard(&running, async { Ok(shell.greeting().await?) })
                .await
        })
        .await?;
        *connected = true;
        self.context.events.emit(Event::MachineReady {
            machine: self.name.clone(),
            after_s: round(running.started.elapsed().as_secs_f64()),
        });
        Ok(())
    }

    /// Forgets that the shell has answered, as after a reboot.
    pub async fn disconnect(&self) {
        if let Some(running) = self.current() {
            *running.connected.lock().await = false;
        }
    }

    /// Whether the shell has answered.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.current().is_some_and(|running| {
            running
                .connected
                .try_lock()
                .is_ok_and(|connected| *connected)
        })
    }

    pub(super) async fn shell<'a>(&self, running: &'a Running) -> Result<&'a Shell, MachineError> {
        let events = self.context.events.clone();
        self.guard(running, async {
            running
                .shell
                .get_or_try_init(|| {
                    let guest = running.guest.clone();
                    Shell::accept(&running.shell_sockets, &self.name, guest, events)
                })
                .await
                .map_err(MachineError::from)
        })
        .await
    }

    pub(super) async fn monitor<'a>(&self, running: &'a Running) -> Result<&'a Qmp, MachineError> {
        self.guard(running, async {
            running
                .monitor
                .get_or_try_init(|| Qmp::connect(&running.monitor_socket))
                .await
                .map_err(MachineError::from)
        })
        .await
    }

    /// Does `work` as long as QEMU runs and the guest is well.
    pub(super) async fn guard<T>(
        &self,
        running: &Running,
        work: impl Future<Output = Result<T, MachineError>>,
    ) -> Result<T, MachineError> {
        let ended = async |exit| {
            // The last words may be the reason.
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

    /// Asks the guest to power off, and waits until it has.
    ///
    /// # Errors
    /// When the guest's shell cannot be reached.
    pub async fn shutdown(self: &Arc<Self>) -> Result<(), MachineError> {
        if !self.is_up() {
            return Ok(());
        }
        self.step("powering off".to_owned(), async {
            self.connect().await?;
            let running = self.running()?;
            let shell = self.shell(&running).await?;
            let _ = shell.run("poweroff", Expect::Nothing, None).await;
            running.process.ended().await;
            Ok(())
        })
        .await
    }

    /// Ends QEMU as if the power had failed.
    ///
    /// # Errors
    /// None: a machine that is off stays so.
    pub async fn crash(&self) -> Result<(), MachineError> {
        let Some(running) = self.current() else {
            return Ok(());
        };
        self.step("forced crash".to_owned(), async {
            running.process.kill().await;
            Ok(())
        })
        .await
    }

    /// Presses Ctrl-Alt-Delete. The machine must have been started with
    /// [`OnReboot::Continue`], or it ends instead.
    ///
    /// # Errors
    /// When the machine is off.
    pub async fn reboot(&self) -> Result<(), MachineError> {
        self.step("rebooting".to_owned(), async {
            let running = self.running()?;
            self.human("sendkey ctrl-alt-delete").await?;
            *running.connected.lock().await = false;
            Ok(())
        })
        .await
    }

    /// Waits until QEMU has ended.
    ///
    /// # Errors
    /// None: a machine that was never started is off.
    pub async fn wait_for_shutdown(&self) -> Result<(), MachineError> {
        let Some(running) = self.current() else {
            return Ok(());
        };
        self.step("waiting for the guest to power off".to_owned(), async {
            running.process.ended().await;
            Ok(())
        })
        .await
    }

    /// Stops QEMU without asking the guest, and waits until its console is
    /// saved; for the end of a run.
    pub async fn release(&self) -> Option<Exit> {
        let running = self.current()?;
        let exit = match self.context.state_retention {
            StateRetention::ThisRun => running.process.kill().await,
            StateRetention::Persistent => running.process.terminate().await,
        };
        if let Some(epilogue) = running.epilogue.lock().await.take() {
            let _ = epilogue.await;
        }
        Some(exit)
    }

    /// Runs a command of QEMU's human monitor.
    ///
    /// # Errors
    /// When the machine is off or QEMU refuses.
    pub async fn human(&self, command: &str) -> Result<String, MachineError> {
        let running = self.running()?;
        let monitor = self.monitor(&running).await?;
        self.guard(&running, async { Ok(monitor.human(command).await?) })
            .await
    }

    /// Plugs the machine's virtual networks in, or out.
    ///
    /// # Errors
    /// When the machine is off or has none.
    pub async fn set_networks(&self, link: Link) -> Result<(), MachineError> {
        let count = self.node.vlans.len();
        if count == 0 {
            return Err(self.unable("is on no virtual network"));
        }
        let running = self.running()?;
        let monitor = self.monitor(&running).await?;
        self.guard(&running, async {
            for number in 1..=count {
                monitor.set_link(&format!("vlan{number}"), link).await?;
            }
            Ok(())
        })
        .await
    }

    /// Types on the serial console.
    ///
    /// # Errors
    /// When the machine is off.
    pub async fn send_console(&self, text: &str) -> Result<(), MachineError> {
        let running = self.running()?;
        running
            .process
            .type_on_console(text.as_bytes())
            .await
            .map_err(|error| self.unable(format!("does not take what is typed: {error}")))
    }
}
