//! Starts a machine's QEMU.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::process::ChildStdout;
use tokio::sync::{Mutex, OnceCell, watch};
use tokio::task::JoinHandle;

use super::files::EXCHANGE_ON_HOST;
use super::{Machine, MachineError};
use crate::agent::{GuestSide, Shell, ShellSockets};
use crate::folders::create_private;
use crate::model::event::Event;
use crate::model::manifest::Guest;
use crate::output_folder::console_log;
use crate::qemu::{Accelerator, Launch, MachineFault, Process, Protocol, Qmp, QmpError};

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
            console_read.send_replace(true);
            if !exit.wanted() {
                failure_watch.report(&name, MachineFault::Died(exit.clone()));
            }
            events.emit(Event::MachineStopped {
                machine: name,
                status: exit.status,
            });
        });
        (epilogue, console_end)
    }

    /// The user's, after those that have a slow guest's systemd wait as much longer as the script does.
    fn kernel_parameters(&self) -> Option<String> {
        let waits_longer = self.node.guest == Guest::Nixos && self.context.timeout_factor > 1.0;
        waits_longer.then(|| {
            let ours = systemd_timeouts(self.context.timeout_factor);
            match std::env::var("QEMU_KERNEL_PARAMS") {
                Ok(given) => format!("{ours} {given}"),
                Err(_) => ours,
            }
        })
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
        if self.node.guest == Guest::Nixos {
            options.push("-nographic");
        }
        let given = std::env::var("QEMU_OPTS").ok();
        options.extend(given.as_deref());
        let mut environment = here.environment.for_run_script();
        if let Some(parameters) = self.kernel_parameters() {
            environment.push(("QEMU_KERNEL_PARAMS".into(), parameters.into()));
        }
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
}

/// Parameters of the kernel for systemd, which waits 90 s for a unit or a device that does not say how long. Older
/// systemds know the first alone, and take it for devices, too.
fn systemd_timeouts(factor: f64) -> String {
    let seconds = (90.0 * factor).ceil();
    format!(
        "systemd.default_timeout_start_sec={seconds} systemd.default_device_timeout_sec={seconds}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_waits_as_much_longer_as_the_script() {
        assert_eq!(
            systemd_timeouts(10.0),
            "systemd.default_timeout_start_sec=900 systemd.default_device_timeout_sec=900"
        );
        assert!(systemd_timeouts(1.01).contains("start_sec=91 "));
    }
}
