//! A running script, on a thread of its own.

use std::sync::Arc;
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::cpython::{self, CPythonInterrupter};
use super::ended::Ended;
use super::input::{Script, ScriptInterpreter};
use super::interpreter;
use super::interrupt::Interrupter;
use super::mode::{Interaction, RunMode};
use super::prompting::Prompting;
use super::state::EngineState;
use crate::replay::Replay;

/// Python's recursion is the stack's here: room for deep ones.
const STACK_BYTES: usize = 256 << 20;

/// Ends a running script from outside.
#[derive(Debug)]
pub enum ScriptInterrupter {
    Embedded(Interrupter),
    CPython(CPythonInterrupter),
}

impl ScriptInterrupter {
    /// Raises `Interrupted(reason)` in the script, as soon as it has begun; returns whether it was taken. It is not if
    /// no script runs any more, or it is stuck in what cannot be cut short.
    pub async fn interrupt(&self, reason: &str) -> bool {
        match self {
            Self::Embedded(interrupter) => interrupter.interrupt(reason).await,
            Self::CPython(interrupter) => interrupter.interrupt(reason).await,
        }
    }
}

/// A running script.
#[derive(Debug)]
pub struct Engine {
    pub interrupter: ScriptInterrupter,
    pub prompting: watch::Receiver<Prompting>,
    pub ended: oneshot::Receiver<Ended>,
}

impl Engine {
    /// Starts a script whose calls go to `replay`, which it lets go of at its end. `breakpoints` is the prompt at each of
    /// them; `None` if there is no user.
    /// The calls run on the runtime that this function is called from.
    ///
    /// # Errors
    /// Returns an error if the system has no thread to give.
    pub async fn start(
        script: Script,
        mode: RunMode,
        breakpoints: Option<Arc<dyn Interaction>>,
        replay: Arc<Replay>,
    ) -> std::io::Result<Self> {
        let state = Arc::new(EngineState::new(script, replay, Handle::current()));
        let prompting = state.prompting.subscribe();
        let (tell_ready, ready) = oneshot::channel();
        let (tell_ended, ended) = oneshot::channel();
        thread::Builder::new()
            .name("script".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let tell = |interrupter| {
                    let _ = tell_ready.send(interrupter);
                };
                let ended = match state.script.interpreter.clone() {
                    ScriptInterpreter::Embedded => {
                        interpreter::run(state, &mode, breakpoints, |interrupter| {
                            tell(ScriptInterrupter::Embedded(interrupter));
                        })
                    }
                    ScriptInterpreter::CPython(python) => {
                        cpython::run(&state, &python, mode, breakpoints, |interrupter| {
                            tell(ScriptInterrupter::CPython(interrupter));
                        })
                    }
                };
                let _ = tell_ended.send(ended);
            })?;
        let interrupter = ready
            .await
            .map_err(|_| std::io::Error::other("the script engine did not start"))?;
        Ok(Self {
            interrupter,
            prompting,
            ended,
        })
    }
}
