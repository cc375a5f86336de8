//! Prints lines above a prompt while the user types.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

type Print = dyn Fn(&str) + Send;

/// Standard output, until there is a prompt. Clones lead to the same place.
#[derive(Clone, Default)]
pub struct Above(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<PromptState>,
    reached: Condvar,
}

#[derive(Default)]
struct PromptState {
    /// Prints a line above what is being typed, while there is a prompt.
    print: Option<Box<Print>>,
    /// How many prompts the display has heard of; None where no display
    /// looks after what is typed.
    prompts: Option<u64>,
}

impl Above {
    /// Does `read`; lines that appear meanwhile are handed to `print`.
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

    /// Waits until everything is shown that came before the prompt of this
    /// number, from 1, but no longer than `limit`.
    pub fn wait_for_prompt(&self, number: u64, limit: Duration) {
        let waits = |state: &mut PromptState| state.prompts.is_some_and(|prompts| prompts < number);
        let _shown = self.0.reached.wait_timeout_while(self.lock(), limit, waits);
    }

    /// A display shows its lines here, and reports each prompt that it reaches.
    pub fn attend(&self) {
        self.lock().prompts = Some(0);
    }

    /// The display has shown everything before the next prompt.
    pub fn reach_prompt(&self) {
        if let Some(prompts) = &mut self.lock().prompts {
            *prompts += 1;
        }
        self.0.reached.notify_all();
    }

    pub fn print(&self, line: &str) {
        match &self.lock().print {
            Some(print) => print(line),
            None => {
                // A closed stdout is ignored.
                let _ = writeln!(io::stdout(), "{line}");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, PromptState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Above {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Above").finish_non_exhaustive()
    }
}
