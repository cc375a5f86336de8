//! Input for the serial console of a machine, and waits for its text.

use std::time::Duration;

use super::LifeCycle;
use crate::machine::MachineError;

impl LifeCycle {
    /// Types on the serial console.
    ///
    /// # Errors
    /// Returns an error if the machine is off.
    pub async fn send_console(&self, text: &str) -> Result<(), MachineError> {
        let running = self.running()?;
        running
            .process
            .type_on_console(text.as_bytes())
            .await
            .map_err(|error| self.unable(format!("does not take what is typed: {error}")))
    }

    /// Waits until the console is longer than `position`; returns what is new, which is nothing if `limit` is over first,
    /// and the position of its end.
    ///
    /// # Errors
    /// Returns an error if the machine is off, or ends before.
    pub async fn wait_for_console(
        &self,
        position: usize,
        limit: Option<Duration>,
    ) -> Result<(String, usize), MachineError> {
        let running = self.running()?;
        let grown = async {
            self.console().longer_than(position).await;
            Ok(())
        };
        let waiting = self.guard(&running, grown);
        match limit {
            None => waiting.await?,
            Some(limit) => match tokio::time::timeout(limit, waiting).await {
                Ok(result) => result?,
                Err(_) => return Ok((String::new(), position)),
            },
        }
        Ok(self.console().since(position))
    }
}
