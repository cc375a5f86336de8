//! The input of the interpreter.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::source_map::SourceMap;

/// Folders of packages for `sys.path`, each with the name of its package.
pub type PythonPackages = BTreeMap<String, String>;

/// A script and what it brings.
#[derive(Debug, Clone)]
pub struct Script {
    pub source_map: Arc<SourceMap>,
    pub python_packages: PythonPackages,
    /// Modules of the test API that are imported after the package.
    pub further_modules: &'static [&'static str],
    /// The factor for default timeouts.
    pub timeout_factor: f64,
    /// Replies of mock machines, for those modules.
    pub answers: serde_json::Value,
}
