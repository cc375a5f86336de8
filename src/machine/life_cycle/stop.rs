//! Stops a machine, and what else is done to it from outside.

use super::LifeCycle;
use crate::backend::Exit;
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
