//! Who says what an interpreter does: the script, or a user.

use std::fmt::Debug;
use std::sync::Arc;

use rustpython_vm::VirtualMachine;
use rustpython_vm::scope::Scope;

use super::state::EngineState;

/// An interaction of the user with the script's names, on the engine's thread.
pub trait Interaction: Debug + Send + Sync {
    /// Returns when the user has ended it.
    fn run(&self, vm: &VirtualMachine, scope: &Scope, state: &EngineState);
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
