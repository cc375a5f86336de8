//! The texts that Python's code came from: the script, and what was typed at a prompt.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::origin::Origin;

/// What tracebacks call the script.
pub(super) const SCRIPT_NAME: &str = "testScript";

/// By the names that tracebacks call them.
#[derive(Debug)]
pub(super) struct Sources(Mutex<HashMap<String, Arc<Origin>>>);

impl Sources {
    pub fn new(script: Arc<Origin>) -> Self {
        Self(Mutex::new([(SCRIPT_NAME.to_owned(), script)].into()))
    }

    /// Keeps what was typed; gives its name.
    pub fn add(&self, text: &str) -> String {
        let mut origins = self.lock();
        // The script is one of them.
        let name = format!("<typed {}>", origins.len());
        let origin = Origin::of_file(text.to_owned(), Path::new(&name));
        origins.insert(name.clone(), Arc::new(origin));
        name
    }

    pub fn find(&self, name: &str) -> Option<Arc<Origin>> {
        self.lock().get(name).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Origin>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
