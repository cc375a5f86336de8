//! A machine of a test: starts, answers, waits, stops.

mod created;
mod disk_faults;
mod disks;
mod error;
mod faults;
mod life_cycle;
mod monitor;
mod operation;
mod seconds;
mod shell;
mod snapshot;
mod user_terminal;
mod virtio_disks;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::agent::Expect;
use crate::backend::{Ability, Backend, FaultReporter, MachineFolders};
use crate::event_bus::Events;
use crate::model::failed_units::FailedUnitPolicy;
use crate::model::manifest::{BackendKind, Node, ShellOptions};
use crate::qemu::SSH_SOCKET;

pub use disk_faults::{DiskLimits, DiskRequests, FailingDisk, ThrottledDisk};
pub use disks::check_disks_in;
pub use error::{MachineError, Overdue};
pub use faults::{GuestRemedy, SlowMachine};
pub use life_cycle::{LOSES_UNFLUSHED, LifeCycle, Start};
pub use monitor::MachineMonitor;
pub use operation::{Operation, RecordPolicy};
pub use seconds::Seconds;
pub use shell::{GuestShell, Setting, TerminalSession, port_hint};
pub use snapshot::{Clock, ConsoleHistory, QuietMachine, Saved};
pub use user_terminal::{TerminalUser, converse};

/// How many of a console's last lines go into messages.
pub const TAIL_LINES: usize = 20;

/// How long what a machine has written is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateRetention {
    #[default]
    ThisRun,
    /// For a later run.
    Persistent,
}

/// The context of a machine.
#[derive(Debug, Clone)]
pub struct MachineContext {
    pub events: Events,
    /// Where faults are reported, and the script, which may expect them.
    pub faults: FaultReporter,
    pub script: Arc<str>,
    pub shell_options: ShellOptions,
    /// The consequence of units that fail while the script waits.
    pub failed_units: FailedUnitPolicy,
    /// Private folder for the machine's sockets and disks.
    pub state_folder: PathBuf,
    pub state_retention: StateRetention,
    /// Mounted in all guests.
    pub shared_folder: PathBuf,
    pub output_folder: PathBuf,
}

impl MachineContext {
    /// Returns the folders of the host that a machine has.
    #[must_use]
    pub fn folders(&self) -> MachineFolders {
        MachineFolders {
            state: self.state_folder.clone(),
            shared: self.shared_folder.clone(),
        }
    }
}

/// A machine, running or not.
#[derive(Debug)]
pub struct Machine {
    life: Arc<LifeCycle>,
    shell: GuestShell,
    monitor: MachineMonitor,
}

impl Machine {
    /// Returns a machine that is off.
    #[must_use]
    pub fn new(
        name: &str,
        node: &Node,
        backend: Box<dyn Backend>,
        context: MachineContext,
    ) -> Self {
        let life = Arc::new(LifeCycle::new(name, node, backend, context));
        Self {
            shell: GuestShell::new(life.clone()),
            monitor: MachineMonitor::new(life.clone()),
            life,
        }
    }

    /// The process of the machine: its start, its end and its console.
    #[must_use]
    pub fn life(&self) -> &Arc<LifeCycle> {
        &self.life
    }

    /// The numbers of the virtual networks of the machine's cards, in order.
    #[must_use]
    pub fn networks(&self) -> &[u32] {
        &self.life.node.vlans
    }

    /// The root shell of the guest: commands, waits, units, files.
    #[must_use]
    pub fn shell(&self) -> &GuestShell {
        &self.shell
    }

    /// The monitor of QEMU: display, keyboard, network cards.
    #[must_use]
    pub fn monitor(&self) -> &MachineMonitor {
        &self.monitor
    }

    /// The name of the node.
    #[must_use]
    pub fn name(&self) -> &str {
        self.life.name()
    }

    /// The kind of the machine.
    #[must_use]
    pub fn backend_kind(&self) -> BackendKind {
        self.life.backend_kind()
    }

    /// The private folder of the machine on the host.
    #[must_use]
    pub fn state_folder(&self) -> &Path {
        self.life.state_folder()
    }

    /// Returns the command of SSH that reaches the guest by vsock, through systemd's proxy on the host.
    ///
    /// # Errors
    /// Returns an error that says why if SSH does not reach the machine.
    pub fn ssh_backdoor_command(&self) -> Result<String, MachineError> {
        self.life.require(Ability::SshBackdoor)?;
        let socket = self.state_folder().join(SSH_SOCKET);
        Ok(format!("ssh -o User=root vsock-mux/{}", socket.display()))
    }

    /// Presses Ctrl-Alt-Delete; has the guest of a container, which has no keyboard, reboot. The machine must
    /// have been started with [`OnReboot::Continue`](crate::backend::OnReboot::Continue), or it ends instead.
    ///
    /// # Errors
    /// Returns an error if the machine is off.
    pub async fn reboot(&self) -> Result<(), MachineError> {
        self.life
            .step("rebooting".to_owned(), async {
                let running = self.life.running()?;
                if self.life.backend.require(Ability::Keyboard).is_ok() {
                    self.monitor.human("sendkey ctrl-alt-delete").await?;
                } else {
                    // Its shell takes no command before the guest has booted.
                    self.shell.connect().await?;
                    let shell = self.shell.channel(&running).await?;
                    let _ = shell.run("reboot", Expect::Nothing, None).await;
                }
                *running.connected.lock().await = false;
                Ok(())
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::sync::mpsc;

    use super::*;
    use crate::backend::{EnvironmentAtStart, MachineFault, OnReboot};
    use crate::qemu::{HostAccelerator, QemuBackend, QemuSettings};

    type FaultReceiver = mpsc::UnboundedReceiver<(String, MachineFault)>;

    /// A machine whose QEMU is another program.
    fn machine(folder: &Path, program: &str) -> (Arc<Machine>, FaultReceiver) {
        let output_folder = folder.join("output");
        fs::create_dir_all(output_folder.join("console")).unwrap();
        let (events, _) = std::sync::mpsc::channel();
        let (faults, seen) = mpsc::unbounded_channel();
        let context = MachineContext {
            events: Events::new(events),
            faults: FaultReporter(faults),
            script: "".into(),
            shell_options: ShellOptions::default(),
            failed_units: FailedUnitPolicy::default(),
            state_folder: folder.to_owned(),
            state_retention: StateRetention::ThisRun,
            shared_folder: folder.to_owned(),
            output_folder,
        };
        let settings = QemuSettings {
            host: HostAccelerator::detect(),
            timeout_factor: 1.0,
            environment: Arc::new(EnvironmentAtStart::now()),
        };
        let command = format!("sh -c '{program}' qemu");
        let backend = |script, node: &Node, folders| -> std::io::Result<Box<dyn Backend>> {
            let networks = Vec::new();
            Ok(Box::new(QemuBackend::new(
                script, node, folders, settings, networks,
            )))
        };
        let machine = Machine::from_command(&command, "server", folder, context, backend).unwrap();
        (machine, seen)
    }

    #[tokio::test]
    async fn a_machine_that_was_never_started_is_off() {
        let folder = tempfile::tempdir().unwrap();
        let (machine, _) = machine(folder.path(), "exec sleep 1000");
        assert!(!machine.life.is_up() && machine.life.pid().is_none());
        machine.life.wait_for_shutdown().await.unwrap();
        assert!(machine.life.release().await.is_none());
        let error = machine.monitor.human("info status").await.unwrap_err();
        assert!(error.to_string().contains("server"), "{error}");
    }

    #[tokio::test]
    async fn a_machine_is_started_once_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let (machine, mut faults) = machine(folder.path(), "exec sleep 1000");
        machine.life.start(OnReboot::End, &[]).await.unwrap();
        let pid = machine.life.pid();
        assert!(machine.life.is_up() && pid.is_some());
        machine.life.start(OnReboot::End, &[]).await.unwrap();
        assert_eq!(machine.life.pid(), pid);
        machine.life.crash().await.unwrap();
        assert!(!machine.life.is_up());
        machine.life.wait_for_shutdown().await.unwrap();
        assert!(machine.life.release().await.is_some());
        assert!(faults.try_recv().is_err(), "an end that was wanted");
    }

    #[tokio::test]
    async fn a_machine_that_dies_is_reported_with_its_console() {
        let folder = tempfile::tempdir().unwrap();
        let program = "echo last words; exit 3";
        let (machine, mut faults) = machine(folder.path(), program);
        machine.life.start(OnReboot::End, &[]).await.unwrap();
        let (name, fault) = faults.recv().await.unwrap();
        assert_eq!(name, "server");
        assert!(matches!(fault, MachineFault::Died(exit) if exit.status == "exit status: 3"));
        machine.life.release().await;
        let console = fs::read_to_string(machine.life.console_log()).unwrap();
        assert_eq!(console, "last words\n");
    }

    #[tokio::test]
    async fn waiting_for_the_shell_ends_with_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let (machine, _faults) = machine(folder.path(), "exit 3");
        let error = machine.shell.connect().await.unwrap_err();
        assert!(
            error.to_string().starts_with("machine server has ended"),
            "{error}"
        );
    }
}
