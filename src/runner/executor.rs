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

/// This process, if the script uses the user's terminal; else a process for the test.
#[derive(Debug)]
pub(super) struct UsersTerminal<'a>(pub &'a mut Interrupts);

impl Executor for UsersTerminal<'_> {
    async fn execute(
        &mut self,
        manifest: &Manifest,
        settings: &RunSettings,
        events: &Events,
    ) -> Result<RunEnd, RunnerError> {
        let has_terminal = io::stdin().is_terminal() && uses_terminal(settings.source_map.script());
        if matches!(settings.mode, RunMode::Script) && !has_terminal {
            return OwnProcess(self.0).execute(manifest, settings, events).await;
        }
        let run = Box::pin(session::run(manifest, settings, events, self.0));
        Ok(RunEnd {
            outcome: run.await?,
            leaky: false,
        })
    }
}

/// Words in scripts that read from the user's terminal: debuggers, prompts, shells in a guest. A script that has one of
/// them elsewhere only runs in this process.
const TERMINAL_WORDS: [&str; 7] = [
    "breakpoint",
    "getpass",
    "input",
    "interact",
    "pdb",
    "stdin",
    "termios",
];

fn uses_terminal(script: &str) -> bool {
    TERMINAL_WORDS.iter().any(|word| script.contains(word))
}
