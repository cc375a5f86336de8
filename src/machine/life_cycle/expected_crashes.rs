//! Crashes that a test expects, and patterns that it adds.

use std::time::Duration;

use super::LifeCycle;
use crate::machine::MachineError;

impl LifeCycle {
    /// Expects a crash of this name, or a console line that matches, from now
    /// on. Returns the number to end the expectation with.
    ///
    /// # Errors
    /// Returns an error if it is not a regular expression.
    pub fn begin_expectation(&self, crash: &str) -> Result<u64, MachineError> {
        self.failure_watch
            .expect(crash)
            .map_err(|error| self.invalid_pattern(crash, &error))
    }

    /// Whether the expected crash has happened.
    #[must_use]
    pub fn was_seen(&self, expectation: u64) -> bool {
        self.failure_watch.was_seen(expectation)
    }

    /// Ends an expectation. With a limit, waits for the crash first.
    ///
    /// # Errors
    /// Returns an error if it does not happen within `limit`, or the machine ends before.
    pub async fn end_expectation(
        &self,
        expectation: u64,
        crash: &str,
        limit: Option<Duration>,
    ) -> Result<(), MachineError> {
        let result = match limit {
            Some(limit) if !self.was_seen(expectation) => {
                self.wait_for_crash(expectation, crash, limit).await
            }
            _ => Ok(()),
        };
        self.failure_watch.end_expectation(expectation);
        result
    }

    async fn wait_for_crash(
        &self,
        expectation: u64,
        crash: &str,
        limit: Duration,
    ) -> Result<(), MachineError> {
        let running = self.running()?;
        self.step(format!("waiting for {crash}"), async {
            let seen = async {
                self.failure_watch.seen(expectation).await;
                Ok(())
            };
            let waiting = tokio::time::timeout(limit, self.guard(&running, seen));
            match waiting.await {
                // The machine may end with the crash.
                Ok(Err(_)) if self.was_seen(expectation) => Ok(()),
                Ok(result) => result,
                Err(_) => Err(self.overdue(crash, limit).error()),
            }
        })
        .await
    }

    /// Takes console lines that match for a crash from now on.
    ///
    /// # Errors
    /// Returns an error if it is not a regular expression.
    pub fn fail_on_console_text(&self, regex: &str) -> Result<(), MachineError> {
        self.failure_watch
            .watch_for(regex)
            .map_err(|error| self.invalid_pattern(regex, &error))
    }

    fn invalid_pattern(&self, text: &str, error: &regex_lite::Error) -> MachineError {
        self.unable(format!("cannot watch its console for {text:?}: {error}"))
    }
}
