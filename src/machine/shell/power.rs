//! Powers a guest off by its shell.

use super::GuestShell;
use crate::agent::Expect;
use crate::machine::MachineError;

impl GuestShell {
    /// Asks the guest to power off, and waits until it has.
    ///
    /// # Errors
    /// Returns an error if the guest's shell cannot be reached.
    pub async fn shutdown(&self) -> Result<(), MachineError> {
        if !self.life.is_up() {
            return Ok(());
        }
        self.life
            .step("powering off".to_owned(), async {
                self.connect().await?;
                let running = self.life.running()?;
                let shell = self.channel(&running).await?;
                let _ = shell.run("poweroff", Expect::Nothing, None).await;
                running.process.ended().await;
                Ok(())
            })
            .await
    }
}
