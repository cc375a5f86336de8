//! What a runner is asked for, as values.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::engine::RunMode;
use crate::filter::TestFilter;
use crate::host::Subtests;
use crate::machine::StateRetention;
use crate::nix_cli::{Evaluation, Library, Nix};
use crate::session::ReplayMode;

/// Tests to run, and how.
#[derive(Debug)]
pub struct RunRequest {
    /// One for each file or flake.
    pub selections: Vec<TestSelection>,
    pub settings: TestSettings,
    pub output: OutputLocation,
    pub place: RunPlace,
    /// After how many tests that have not passed the others are left out; None for never.
    pub max_fail: Option<NonZeroUsize>,
}

/// Nix, its library, and what to evaluate.
#[derive(Debug)]
pub struct TestSelection {
    pub nix: Nix,
    pub library: Library,
    pub evaluation: Evaluation,
    /// Which of the tests that the evaluation finds are meant.
    pub filter: TestFilter,
}

/// Where tests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunPlace {
    /// In this process.
    Here,
    /// In builds of Nix.
    Derivation(Builders),
}

/// Which of Nix's builders may run tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builders {
    WithKvm,
    Any,
}

/// How tests are run.
#[derive(Debug, Clone)]
pub struct TestSettings {
    pub script_check: ScriptCheck,
    pub mode: RunMode,
    pub subtests: Subtests,
    /// None for the test's own.
    pub global_timeout: Option<Duration>,
    pub timeout_factor: TimeoutFactor,
    pub replay: ReplayMode,
    pub verification: Verification,
    pub states: StateRetention,
}

/// How much of a script is checked before anything is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptCheck {
    /// What the test asks for.
    AsConfigured,
    SyntaxOnly,
}

/// The factor for default timeouts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TimeoutFactor {
    /// By how fast the machines are.
    Auto,
    By(f64),
}

impl TimeoutFactor {
    /// The factor for machines that are slower than usual by `slowness`.
    pub(super) fn with(self, slowness: f64) -> f64 {
        match self {
            Self::Auto => slowness,
            Self::By(factor) => factor,
        }
    }
}

/// Whether a verdict that comes from a checkpoint is checked by a cold run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    Off,
    ColdRun,
}

/// Where the output of tests goes: a folder that the user has named, or one by
/// the name of the test.
#[derive(Debug, Clone, Default)]
pub struct OutputLocation(pub Option<PathBuf>);

impl OutputLocation {
    /// The folder of one of `count` tests, which is called `label` among them.
    pub(super) fn folder(&self, name: &str, label: &str, count: usize) -> PathBuf {
        match &self.0 {
            Some(folder) if count == 1 => folder.clone(),
            Some(folder) => folder.join(file_name(label)),
            None if count == 1 => default_folder(name),
            None => default_folder(label),
        }
    }
}

fn default_folder(label: &str) -> PathBuf {
    PathBuf::from(format!("result-{}", file_name(label)))
}

/// A test's name as the name of a file.
fn file_name(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c == '/' || c == ':' || c.is_whitespace() || c.is_control() {
                '-'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_tests_have_a_folder_each() {
        let named = OutputLocation(Some(PathBuf::from("/o")));
        let unnamed = OutputLocation::default();
        for (location, count, folder) in [
            (&named, 1, "/o"),
            (&named, 2, "/o/a.b-c"),
            (&unnamed, 1, "result-my-test"),
            (&unnamed, 2, "result-a.b-c"),
        ] {
            let found = location.folder("my test", "a.b/c", count);
            assert_eq!(found, PathBuf::from(folder));
        }
    }
}
