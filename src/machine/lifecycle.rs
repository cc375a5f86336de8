//! Stops a machine, and what else is done to it from outside.

use std::sync::Arc;

use super::{Machine, MachineError, StateRetention};
use crate::agent::Expect;
use crate::backend::{Ability, Exit, Link, NetworkControl};

impl Machine {
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

    /// Presses Ctrl-Alt-Delete; has the guest of a container, which has no keyboard, reboot. The machine must
    /// have been started with [`OnReboot::Continue`](crate::backend::OnReboot::Continue), or it ends instead.
    ///
    /// # Errors
    /// When the machine is off.
    pub async fn reboot(self: &Arc<Self>) -> Result<(), MachineError> {
        self.step("rebooting".to_owned(), async {
            let running = self.running()?;
            if self.backend.require(Ability::Keyboard).is_ok() {
                self.human("sendkey ctrl-alt-delete").await?;
            } else {
                // Its shell takes no command before the guest has booted.
                self.connect().await?;
                let shell = self.shell(&running).await?;
                let _ = shell.run("reboot", Expect::Nothing, None).await;
            }
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
        self.backend.clean_up();
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
        if let NetworkControl::Switch(links) = self.backend.network_control() {
            links.set(&self.name, link);
            return Ok(());
        }
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

#[cfg(test)]
mod tests {
    use crate::model::manifest::ShellOptions;
    use std::fs;
    use std::path::Path;

    use tokio::sync::mpsc;

    use super::super::MachineContext;
    use super::*;
    use crate::backend::{EnvironmentAtStart, FaultReporter, MachineFault, OnReboot};
    use crate::event_bus::Events;
    use crate::qemu::{Accelerator, QemuSettings};

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
            state_folder: folder.to_owned(),
            state_retention: StateRetention::ThisRun,
            shared_folder: folder.to_owned(),
            output_folder,
            qemu: QemuSettings {
                accelerator: Accelerator::Tcg,
                timeout_factor: 1.0,
                environment: Arc::new(EnvironmentAtStart::now()),
                network_environment: Vec::new(),
            },
        };
        let command = format!("sh -c '{program}' qemu");
        let machine = Machine::from_command(&command, "server", folder, context).unwrap();
        (machine, seen)
    }

    #[tokio::test]
    async fn a_machine_that_was_never_started_is_off() {
        let folder = tempfile::tempdir().unwrap();
        let (machine, _) = machine(folder.path(), "exec sleep 1000");
        assert!(!machine.is_up() && machine.pid().is_none());
        machine.wait_for_shutdown().await.unwrap();
        assert!(machine.release().await.is_none());
        let error = machine.human("info status").await.unwrap_err();
        assert!(error.to_string().contains("server"), "{error}");
    }

    #[tokio::test]
    async fn a_machine_is_started_once_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let (machine, mut faults) = machine(folder.path(), "exec sleep 1000");
        machine.start(OnReboot::End, &[]).await.unwrap();
        let pid = machine.pid();
        assert!(machine.is_up() && pid.is_some());
        machine.start(OnReboot::End, &[]).await.unwrap();
        assert_eq!(machine.pid(), pid);
        machine.crash().await.unwrap();
        assert!(!machine.is_up());
        machine.wait_for_shutdown().await.unwrap();
        assert!(machine.release().await.is_some());
        assert!(faults.try_recv().is_err(), "an end that was wanted");
    }

    #[tokio::test]
    async fn a_machine_that_dies_is_reported_with_its_console() {
        let folder = tempfile::tempdir().unwrap();
        let program = "echo last words; exit 3";
        let (machine, mut faults) = machine(folder.path(), program);
        machine.start(OnReboot::End, &[]).await.unwrap();
        let (name, fault) = faults.recv().await.unwrap();
        assert_eq!(name, "server");
        assert!(matches!(fault, MachineFault::Died(exit) if exit.status == "exit status: 3"));
        machine.release().await;
        let console = fs::read_to_string(machine.console_log()).unwrap();
        assert_eq!(console, "last words\n");
    }

    #[tokio::test]
    async fn waiting_for_the_shell_ends_with_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let (machine, _faults) = machine(folder.path(), "exit 3");
        let error = machine.connect().await.unwrap_err();
        assert!(
            error.to_string().starts_with("machine server has ended"),
            "{error}"
        );
    }
}
