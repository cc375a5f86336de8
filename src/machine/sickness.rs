//! Sicknesses that a test wants, and those that it adds.

use std::time::Duration;

use super::{Machine, MachineError};

impl Machine {
    /// A sickness of this name, or a console line that matches, is wanted from
    /// now on; gives the number to end that by.
    ///
    /// # Errors
    /// When it is no regular expression.
    pub fn begin_expectation(&self, sickness: &str) -> Result<u64, MachineError> {
        self.health
            .expect(sickness)
            .map_err(|error| self.no_pattern(sickness, &error))
    }

    /// Whether what is expected has happened.
    #[must_use]
    pub fn was_seen(&self, expectation: u64) -> bool {
        self.health.was_seen(expectation)
    }

    /// Ends an expectation: waits until it has come true, where there is a limit.
    ///
    /// # Errors
    /// When it has not within `limit`, or the machine ends before.
    pub async fn end_expectation(
        &self,
        expectation: u64,
        sickness: &str,
        limit: Option<Duration>,
    ) -> Result<(), MachineError> {
        let result = match limit {
            Some(limit) if !self.was_seen(expectation) => {
                self.wait_for_sickness(expectation, sickness, limit).await
            }
            _ => Ok(()),
        };
        self.health.forget(expectation);
        result
    }

    async fn wait_for_sickness(
        &self,
        expectation: u64,
        sickness: &str,
        limit: Duration,
    ) -> Result<(), MachineError> {
        let running = self.running()?;
        self.step(format!("waiting for {sickness}"), async {
            let seen = async {
                self.health.seen(expectation).await;
                Ok(())
            };
            let waiting = tokio::time::timeout(limit, self.guard(&running, seen));
            match waiting.await {
                // It may have been the machine's last word.
                Ok(Err(_)) if self.was_seen(expectation) => Ok(()),
                Ok(result) => result,
                Err(_) => Err(self.overdue(sickness, limit).error()),
            }
        })
        .await
    }

    /// Console lines that match are a sickness from now on.
    ///
    /// # Errors
    /// When it is no regular expression.
    pub fn fail_on_console_text(&self, regex: &str) -> Result<(), MachineError> {
        self.health
            .watch_for(regex)
            .map_err(|error| self.no_pattern(regex, &error))
    }

    fn no_pattern(&self, text: &str, error: &regex_lite::Error) -> MachineError {
        self.unable(format!("cannot watch its console for {text:?}: {error}"))
    }
}
