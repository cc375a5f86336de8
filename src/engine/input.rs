//! The input of the interpreter.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cpython::CPython;
use super::stepping::ScriptStop;
use crate::source_map::SourceMap;

/// Folders of packages for `sys.path`, each with the name of its package.
pub type PythonPackages = BTreeMap<String, String>;

/// The interpreter of a script.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ScriptInterpreter {
    /// RustPython, in this process.
    #[default]
    Embedded,
    /// A process.
    CPython(CPython),
}

/// A script and what it brings.
#[derive(Debug, Clone)]
pub struct Script {
    pub source_map: Arc<SourceMap>,
    pub python_packages: PythonPackages,
    pub interpreter: ScriptInterpreter,
    /// Modules of the test API that are imported after the package.
    pub further_modules: &'static [&'static str],
    /// Where the script stops for its user; `None` if it runs to its end.
    pub stop: Option<ScriptStop>,
    /// The factor for default timeouts.
    pub timeout_factor: f64,
    /// Replies of mock machines, for those modules.
    pub answers: serde_json::Value,
}
