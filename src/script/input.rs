//! What the interpreter is given: a script, and how to run it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::language::ApiModule;
use crate::report::Above;
use crate::source_map::SourceMap;

/// Folders of packages for `sys.path`, each with the name of its package.
pub type PythonPackages = BTreeMap<String, String>;

/// Who says what is done.
#[derive(Debug, Clone, Default)]
pub enum RunMode {
    #[default]
    Script,
    /// A script that is no test: its end is no verdict.
    OneShot,
    /// The script, and a prompt if it fails.
    PromptOnFailure(Above),
    /// A prompt, where the user can run the script.
    Prompt(Above),
    /// The script, and a shell on a machine if it fails.
    ShellOnFailure,
}

/// A script and what it brings.
#[derive(Debug, Clone)]
pub struct Script {
    pub source_map: Arc<SourceMap>,
    pub mode: RunMode,
    pub python_packages: PythonPackages,
    /// API modules that are executed after the usual ones.
    pub further_modules: &'static [ApiModule],
    /// The factor for default timeouts.
    pub timeout_factor: f64,
    /// Replies of mock machines, for those modules.
    pub answers: serde_json::Value,
}
