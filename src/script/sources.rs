//! The texts that Python's code came from: the script, and what was typed at a prompt.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::origin::Origin;

/// What tracebacks call the script.
pub(super) const SCRIPT_NAME: &str = "testScript";

/// Looked up by the names that tracebacks call them.
#[derive(Debug)]
pub(super) struct Sources {
    script: Arc<Origin>,
    typed: Mutex<Vec<Arc<Origin>>>,
}

impl Sources {
    pub fn new(script: Arc<Origin>) -> Self {
        Self {
            script,
            typed: Mutex::default(),
        }
    }

    /// Keeps what was typed; gives its name.
    pub fn add(&self, text: &str) -> String {
        let mut typed = self.typed.lock().unwrap_or_else(PoisonError::into_inner);
        let name = typed_name(typed.len());
        let origin = Origin::of_file(text.to_owned(), Path::new(&name));
        typed.push(Arc::new(origin));
        name
    }

    pub fn find(&self, name: &str) -> Option<Arc<Origin>> {
        if name == SCRIPT_NAME {
            return Some(self.script.clone());
        }
        let typed = self.typed.lock().unwrap_or_else(PoisonError::into_inner);
        let number = (0..typed.len()).find(|number| typed_name(*number) == name)?;
        typed.get(number).cloned()
    }
}

fn typed_name(number: usize) -> String {
    format!("<typed {}>", number + 1)
}
