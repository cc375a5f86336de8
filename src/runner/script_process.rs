//! The process that the script of a built test runs in: this one, or one of its own.

use std::io::{self, IsTerminal};

use tokio::sync::mpsc;

use super::apart::{RunEnd, run_apart};
use super::error::RunnerError;
use super::interrupts::InterruptSource;
use crate::engine::RunMode;
use crate::event_bus::Events;
use crate::script_modules::imported_modules;
use crate::session::{self, SessionError, TestInput};

/// The process of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScriptProcess {
    /// One for each test: its script may stop, crash or end as it likes.
    Own,
    /// This one if the script uses the user's terminal; else one for the test.
    OfTerminal,
}

impl ScriptProcess {
    /// Runs a built test to its end, and emits its events.
    ///
    /// # Errors
    /// Returns an error if the test could not be begun.
    pub async fn run(
        self,
        input: &TestInput,
        events: &Events,
        interrupts: &mut impl InterruptSource,
    ) -> Result<RunEnd, RunnerError> {
        if self == Self::Own || !uses_terminal(input) {
            return run_apart(input, events, interrupts).await;
        }
        Ok(Box::pin(run_here(input, events, interrupts)).await?)
    }
}

/// Runs a test in this process.
async fn run_here(
    input: &TestInput,
    events: &Events,
    interrupts: &mut impl InterruptSource,
) -> Result<RunEnd, SessionError> {
    let (passed, mut receiver) = mpsc::unbounded_channel();
    let run = session::run(input, events, &mut receiver);
    tokio::pin!(run);
    loop {
        tokio::select! {
            outcome = &mut run => {
                let leaky = false;
                return Ok(RunEnd { outcome: outcome?, leaky });
            }
            Some(interrupt) = interrupts.next() => {
                let _ = passed.send(interrupt);
            }
        }
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

fn uses_terminal(input: &TestInput) -> bool {
    if !matches!(input.settings.mode, RunMode::Script) {
        return true;
    }
    let has_word = |text: &str| TERMINAL_WORDS.iter().any(|word| text.contains(word));
    let of_modules = || {
        let modules = imported_modules(&input.script);
        modules
            .iter()
            .any(|module| has_word(module.source_map.script()))
    };
    io::stdin().is_terminal() && (has_word(input.script.script()) || of_modules())
}
