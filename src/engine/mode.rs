//! Who says what an interpreter does: the script, or a user.

use std::fmt::Debug;
use std::sync::Arc;

use super::state::EngineState;
use crate::model::event::Event;

/// The names of a script at one of its places, among which a user works.
pub trait Namespace {
    /// Whether a text is to be run as it is. A statement that goes over lines and may go on is ended by an empty one,
    /// as at Python's own prompt.
    fn is_whole(&self, text: &str) -> bool;

    /// Returns the names that can follow on the dotted name `path`; all names if it is empty.
    fn names_after(&self, path: &[&str]) -> Vec<String>;

    /// Runs what was typed, and reports its failure.
    fn run(&self, text: &str) -> AfterTyped;

    /// Emits an event of the prompt.
    fn emit(&self, event: Event);
}

/// The next step after something that was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterTyped {
    Read,
    /// The text was `exit()`.
    Leave,
}

/// An interaction of the user with a script's names, on a thread of the engine.
pub trait Interaction: Debug + Send + Sync {
    /// Returns when the user has ended it.
    fn run(&self, names: &dyn Namespace, state: &EngineState);
}

/// Who says what is done.
#[derive(Debug, Clone, Default)]
pub enum RunMode {
    #[default]
    Script,
    /// A script that is no test: its end is no verdict.
    OneShot,
    /// The script, and a prompt if it fails.
    PromptOnFailure(Arc<dyn Interaction>),
    /// A prompt, where the user can run the script.
    Prompt(Arc<dyn Interaction>),
    /// The script, and a shell on a machine if it fails.
    ShellOnFailure,
}
