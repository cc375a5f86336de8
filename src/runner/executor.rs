//! The places where a built test runs.

use std::io::{self, IsTerminal};

use super::apart::{RunEnd, TestInput, run_apart};
use super::error::RunnerError;
use super::interrupts::{InterruptSource, Interrupts};
use crate::engine::RunMode;
use crate::event_bus::Events;
use crate::model::manifest::Manifest;
use crate::session::{self, RunSettings};

/// A place where tests run.
pub(super) trait Executor {
    /// Runs a built test to its end, and emits its events.
    ///
    /// # Errors
    /// Returns an error if the test could not be begun.
    async fn execute(
        &mut self,
        manifest: &Manifest,
        settings: &RunSettings,
        events: &Events,
    ) -> Result<RunEnd, RunnerError>;
}

/// A process for each test: its script may stop, crash or end as it likes.
#[derive(Debug)]
pub(super) struct OwnProcess<'a, Source>(pub &'a mut Source);

impl<Source: InterruptSource> Executor for OwnProcess<'_, Source> {
    async fn execute(
        &mut self,
        manifest: &Manifest,
        settings: &RunSettings,
        events: &Events,
    ) -> Result<RunEnd, RunnerError> {
        let input = TestInput::new(manifest, settings, events);
        run_apart(&input, events, self.0).await
    }
}

/// This process, if the script has the user's terminal for a prompt or as standard input; else a process for the test.
#[derive(Debug)]
pub(super) struct UsersTerminal<'a>(pub &'a mut Interrupts);

impl Executor for UsersTerminal<'_> {
    async fn execute(
        &mut self,
        manifest: &Manifest,
        settings: &RunSettings,
        events: &Events,
    ) -> Result<RunEnd, RunnerError> {
        if matches!(settings.mode, RunMode::Script) && !io::stdin().is_terminal() {
            return OwnProcess(self.0).execute(manifest, settings, events).await;
        }
        let run = Box::pin(session::run(manifest, settings, events, self.0));
        Ok(RunEnd {
            outcome: run.await?,
            leaky: false,
        })
    }
}
