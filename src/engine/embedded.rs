//! State that the embedded interpreter and its native functions share.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustpython_vm::PyRef;
use rustpython_vm::builtins::PyCode;
use rustpython_vm::scope::Scope as Globals;

use super::cancellation::Cancellations;
use super::interrupt::Interrupter;
use super::state::EngineState;

/// The script's code and names.
type Compiled = (PyRef<PyCode>, Globals);

/// A script in the embedded interpreter.
pub(super) struct Embedded {
    pub state: Arc<EngineState>,
    pub cancellations: Arc<Cancellations>,
    pub interrupter: Interrupter,
    /// Once the script is compiled.
    compiled: Mutex<Option<Compiled>>,
}

impl Embedded {
    pub fn new(
        state: Arc<EngineState>,
        cancellations: Arc<Cancellations>,
        interrupter: Interrupter,
    ) -> Self {
        Self {
            state,
            cancellations,
            interrupter,
            compiled: Mutex::default(),
        }
    }

    pub fn keep_compiled(&self, code: PyRef<PyCode>, globals: Globals) {
        *self.lock() = Some((code, globals));
    }

    pub fn compiled(&self) -> Option<Compiled> {
        self.lock().clone()
    }

    /// Lets go of the script's objects, while there still is an interpreter for what their ends do.
    pub fn forget_compiled(&self) {
        self.lock().take();
    }

    fn lock(&self) -> MutexGuard<'_, Option<Compiled>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").finish_non_exhaustive()
    }
}
