//! Standard output and a prompt on one terminal: lines appear above what the user types.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::raw_terminal::for_terminal;

type Print = dyn Fn(&str) + Send;

/// Prints lines: on standard output, or above a prompt while there is one. Clones share the prompt.
#[derive(Clone, Default)]
pub struct PromptOutput(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<PromptState>,
    reached: Condvar,
}

#[derive(Default)]
struct PromptState {
    /// Prints a line above what is being typed, while there is a prompt.
    print: Option<Box<Print>>,
    /// Number of prompts so far.
    asked: u64,
    /// Number of prompts that the display has reached; `None` without a display.
    reached: Option<u64>,
}

impl PromptOutput {
    /// Reads what the user types with `read`, and passes lines that are printed meanwhile to `print`.
    pub fn while_reading<T>(
        &self,
        print: impl Fn(&str) + Send + 'static,
        read: impl FnOnce() -> T,
    ) -> T {
        self.lock().print = Some(Box::new(print));
        let result = read();
        self.lock().print = None;
        result
    }

    /// Waits until everything is shown that came before the next prompt, or until `limit` has passed.
    pub fn wait_for_prompt(&self, limit: Duration) {
        let mut state = self.lock();
        state.asked += 1;
        let waits = |state: &mut PromptState| state.reached.is_some_and(|it| it < state.asked);
        let _shown = self.0.reached.wait_timeout_while(state, limit, waits);
    }

    /// Announces a display, which prints its lines here and reports each prompt with [`Self::reach_prompt`].
    pub fn attach_display(&self) {
        let mut state = self.lock();
        state.reached = Some(state.asked);
    }

    /// Notes that the display has shown everything before the next prompt.
    pub fn reach_prompt(&self) {
        if let Some(reached) = &mut self.lock().reached {
            *reached += 1;
        }
        self.0.reached.notify_all();
    }

    /// Prints a line. A closed standard output is ignored.
    pub fn print(&self, line: &str) {
        if let Some(print) = &self.lock().print {
            print(line);
        } else {
            let line = format!("{line}\n");
            let _ = io::stdout().write_all(&for_terminal(line.as_bytes()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, PromptState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PromptOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PromptOutput").finish_non_exhaustive()
    }
}
