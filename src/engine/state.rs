//! State that the interpreter, its native functions and a prompt share.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustpython_vm::PyRef;
use rustpython_vm::builtins::PyCode;
use rustpython_vm::scope::Scope as Globals;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::cancellation::Cancellations;
use super::input::Script;
use super::interrupt::Interrupter;
use super::sources::Sources;
use crate::host::Host;
use crate::model::event::{Event, Failure, Level};
use crate::replay::Replay;

/// State that the native functions share.
pub struct EngineState {
    /// Gone when the script is over: the functions stay as long as the program.
    replay: Mutex<Option<Arc<Replay>>>,
    pub(super) script: Script,
    pub sources: Sources,
    /// Whether the user is at a prompt.
    pub(super) prompting: watch::Sender<bool>,
    pub(super) handle: Handle,
    pub(super) cancellations: Arc<Cancellations>,
    pub interrupter: Interrupter,
    /// The printed part of a line that has not ended.
    partial: Mutex<String>,
    /// Why the script has failed although it came to its end.
    failed: Mutex<Option<Failure>>,
    /// The script's code and names, once it is compiled.
    compiled: Mutex<Option<(PyRef<PyCode>, Globals)>>,
}

impl EngineState {
    pub(super) fn new(
        script: Script,
        replay: Arc<Replay>,
        handle: Handle,
        cancellations: Arc<Cancellations>,
        interrupter: Interrupter,
    ) -> Self {
        Self {
            replay: Mutex::new(Some(replay)),
            sources: Sources::new(script.source_map.clone()),
            prompting: watch::Sender::default(),
            script,
            handle,
            cancellations,
            interrupter,
            partial: Mutex::default(),
            failed: Mutex::default(),
            compiled: Mutex::default(),
        }
    }

    pub(super) fn replay(&self) -> Option<Arc<Replay>> {
        lock(&self.replay).clone()
    }

    pub(super) fn host(&self) -> Option<Arc<Host>> {
        Some(self.replay()?.host().clone())
    }

    /// The script is over: nothing of the run is to be reached any more.
    pub(super) fn close(&self) {
        lock(&self.replay).take();
    }

    /// Lets go of the script's objects, while there still is an interpreter for what their ends do.
    pub(super) fn forget_compiled(&self) {
        lock(&self.compiled).take();
    }

    pub(super) fn keep_compiled(&self, code: PyRef<PyCode>, globals: Globals) {
        *lock(&self.compiled) = Some((code, globals));
    }

    pub(super) fn compiled(&self) -> Option<(PyRef<PyCode>, Globals)> {
        lock(&self.compiled).clone()
    }

    /// Fails the script, although it goes on; the first failure counts.
    pub(super) fn fail(&self, failure: Failure) {
        lock(&self.failed).get_or_insert(failure);
    }

    /// The failure of a script that came to its end; None if it has none.
    pub(super) fn failed(&self) -> Option<Failure> {
        lock(&self.failed).take()
    }

    pub fn emit(&self, event: Event) {
        if let Some(host) = self.host() {
            host.events.emit(event);
        }
    }

    pub fn note(&self, level: Level, text: &str) {
        if let Some(host) = self.host() {
            host.events.note(level, text);
        }
    }

    /// `print` writes in pieces: each line is an event.
    pub(super) fn print(&self, text: &str) {
        let mut partial = lock(&self.partial);
        for piece in text.split_inclusive('\n') {
            partial.push_str(piece);
            if let Some(line) = piece
                .strip_suffix('\n')
                .and_then(|_| partial.strip_suffix('\n'))
            {
                let text = line.to_owned();
                partial.clear();
                self.emit(Event::Output { text });
            }
        }
    }

    pub fn print_rest(&self) {
        let mut partial = lock(&self.partial);
        if !partial.is_empty() {
            let text = std::mem::take(&mut *partial);
            self.emit(Event::Output { text });
        }
    }
}

impl fmt::Debug for EngineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineState").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
