//! The texts that Python's code came from: the script, its modules, and the text typed at a prompt.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::source_map::SourceMap;

/// The name of the script in tracebacks.
pub(super) const SCRIPT_NAME: &str = "testScript";

/// By the names that tracebacks call them.
#[derive(Debug)]
pub struct Sources(Mutex<HashMap<String, Arc<SourceMap>>>);

impl Sources {
    pub fn new(script: Arc<SourceMap>) -> Self {
        Self(Mutex::new([(SCRIPT_NAME.to_owned(), script)].into()))
    }

    /// Keeps what was typed; returns its name.
    pub fn add(&self, text: &str) -> String {
        let mut source_maps = self.lock();
        // The script is one of them.
        let name = format!("<typed {}>", source_maps.len());
        let source_map = SourceMap::of_file(text.to_owned(), Path::new(&name));
        source_maps.insert(name.clone(), Arc::new(source_map));
        name
    }

    /// Keeps a module of the script, by the path of its file.
    pub fn add_module(&self, file: &str, source_map: Arc<SourceMap>) {
        self.lock().insert(file.to_owned(), source_map);
    }

    pub fn find(&self, name: &str) -> Option<Arc<SourceMap>> {
        self.lock().get(name).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<SourceMap>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
