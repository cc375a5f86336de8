//! The state of a running script that every interpreter has, and a prompt beside it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::ended::Ended;
use super::input::Script;
use super::prompting::Prompting;
use super::sources::Sources;
use crate::host::Host;
use crate::model::event::{Event, Failure, Level};
use crate::replay::Replay;

/// A running script: where its calls go, and what it has printed.
pub struct EngineState {
    /// Gone when the script is over: the functions stay as long as the program.
    replay: Mutex<Option<Arc<Replay>>>,
    pub(super) script: Script,
    pub sources: Sources,
    /// Whether the user is at a prompt.
    pub(super) prompting: watch::Sender<Prompting>,
    pub(super) handle: Handle,
    /// The printed part of a line that has not ended.
    partial: Mutex<String>,
    /// Why the script has failed although it came to its end.
    failed: Mutex<Option<Failure>>,
}

impl EngineState {
    pub(super) fn new(script: Script, replay: Arc<Replay>, handle: Handle) -> Self {
        Self {
            replay: Mutex::new(Some(replay)),
            sources: Sources::new(script.source_map.clone()),
            prompting: watch::Sender::default(),
            script,
            handle,
            partial: Mutex::default(),
            failed: Mutex::default(),
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

    /// Fails the script, although it goes on; the first failure counts.
    pub(super) fn fail(&self, failure: Failure) {
        lock(&self.failed).get_or_insert(failure);
    }

    /// The end of a script whose last statement has been run: it may have failed before.
    pub(super) fn at_end(&self) -> Ended {
        match lock(&self.failed).take() {
            Some(failure) => Ended::Failed(Box::new(failure)),
            None => Ended::Passed,
        }
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

    /// Reports the failure of something that was typed; `None` if the user has ended it.
    pub(super) fn report_typed(&self, failure: Option<Failure>) {
        match failure {
            None => self.note(Level::Warning, "interrupted"),
            Some(failure) => self.emit(Event::CallFailed {
                failure: Box::new(failure),
            }),
        }
    }

    /// Says whether the script waits for a user.
    pub fn set_prompting(&self, prompting: Prompting) {
        self.prompting.send_replace(prompting);
    }

    /// Prints a line that nothing belongs to which was printed in pieces.
    pub(super) fn emit_line(&self, text: &str) {
        self.emit(Event::Output {
            text: text.to_owned(),
        });
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
