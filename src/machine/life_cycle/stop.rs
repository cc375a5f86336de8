//! Stops a machine, and what else is done to it from outside.

use super::LifeCycle;
use super::volatile_disks::{LOSES_UNFLUSHED, lose_unflushed};
use crate::backend::{Ability, Exit};
use crate::machine::{MachineError, StateRetention};

impl LifeCycle {
    /// Whether the machine's process runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.current()
            .is_some_and(|running| running.process.exit().is_none())
    }

    /// The ID of the machine's process; `None` if it was never started.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.current().map(|running| running.process.pid())
    }

    /// Kills the machine's process, as if the power had failed.
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

    /// Kills the machine's process, and takes the writes from its disks that its guest has not flushed, as a power failure
    /// does.
    ///
    /// # Errors
    /// Returns an error for a container, if the machine is off, or if a disk's image cannot be written.
    pub async fn crash_unflushed(&self) -> Result<(), MachineError> {
        self.require(Ability::Monitor)?;
        let running = self.running()?;
        if !self.is_up() {
            return Err(MachineError::NotRunning(self.name.clone()));
        }
        let Some(disks) = running.volatile_disks.get() else {
            // The name of the argument is not in the script, but in a module of it.
            let reason = format!(
                "has not logged its writes: name the argument `{LOSES_UNFLUSHED}` in the test script itself"
            );
            return Err(self.unable(reason));
        };
        let qemu = std::fs::read_link(format!("/proc/{}/exe", running.process.pid())).ok();
        self.step(
            "forced crash that loses unflushed writes".to_owned(),
            async {
                running.process.kill().await;
                let lost = lose_unflushed(disks, qemu.as_deref()).await;
                lost.map_err(|error| self.unable(format!("cannot lose unflushed writes: {error}")))
            },
        )
        .await
    }

    /// Ends the machine's process, which is about to be another one's; waits until its console is saved.
    pub async fn halt(&self) {
        let Some(running) = self.current() else {
            return;
        };
        running.process.kill().await;
        if let Some(epilogue) = running.epilogue.lock().await.take() {
            let _ = epilogue.await;
        }
    }

    /// Waits until the machine's process has ended.
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

    /// Ends the machine's process without asking the guest, and waits until its console is saved; for the end of a run.
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
}
