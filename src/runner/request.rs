//! The request to a runner, as values.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::attempts::AttemptRule;
use super::project::Project;
use crate::filter::TestFilter;
use crate::nix_cli::{Evaluation, Library, Nix, TestSource};
use crate::output_folder::is_reserved;
use crate::session::RunSettings;

/// Tests to run, and how.
#[derive(Debug)]
pub struct RunRequest {
    /// One for each file or flake.
    pub selections: Vec<TestSelection>,
    /// Which of the tests that are found are meant.
    pub filter: TestFilter,
    pub script_check: ScriptCheck,
    pub settings: RunSettings,
    pub verification: Verification,
    pub confirmation: Confirmation,
    pub output: OutputLocation,
    pub place: RunPlace,
    /// After how many tests that have not passed the others are left out; None for never.
    pub max_fail: Option<NonZeroUsize>,
    /// For all tests; None for what `config` says of each.
    pub attempts: Option<AttemptRule>,
    /// The seed of the first attempt at each test; the next ones have the numbers after it. `None` for that of the settings.
    pub first_seed: Option<u64>,
    pub resources: Resources,
    pub evaluation: EvalLimits,
    pub project: Project,
}

/// Resources of the host for tests that run side by side.
#[derive(Debug, Clone)]
pub struct Resources {
    pub jobs: JobCount,
    /// None for what is free.
    pub memory_mib: Option<u64>,
    /// How many tests of a group run at a time.
    pub groups: BTreeMap<String, usize>,
}

/// How many processes evaluate tests.
#[derive(Debug, Clone, Copy)]
pub struct EvalLimits {
    pub jobs: JobCount,
    /// Memory for all processes together, in MiB; `None` for half of the free memory.
    pub memory_mib: Option<u64>,
}

/// How many tests run side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobCount {
    /// As many as there are processors and memory for.
    Auto,
    Exactly(NonZeroUsize),
}

/// Nix, its library, and what to evaluate.
#[derive(Debug)]
pub struct TestSelection {
    pub nix: Nix,
    pub library: Library,
    pub evaluation: Evaluation,
    /// The identity of the place in the history: the path of the file itself, or the reference of a flake.
    pub source: String,
}

impl TestSelection {
    #[must_use]
    pub fn new(nix: Nix, library: Library, evaluation: Evaluation) -> Self {
        let source = match &evaluation.place {
            TestSource::File(file) => file_itself(file).display().to_string(),
            TestSource::Flake(flake) => flake.reference.clone(),
        };
        Self {
            nix,
            library,
            evaluation,
            source,
        }
    }
}

/// Returns the file that holds the tests, by its own path: a folder means its default.nix.
#[must_use]
pub fn file_itself(place: &Path) -> PathBuf {
    let file = if place.is_dir() {
        place.join("default.nix")
    } else {
        place.to_owned()
    };
    let own = fs::canonicalize(&file).or_else(|_| std::path::absolute(&file));
    own.unwrap_or(file)
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

/// How much of a script is checked before anything is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptCheck {
    /// The whole check, unless the test leaves parts out.
    AsConfigured,
    SyntaxOnly,
}

/// Whether a verdict that comes from a checkpoint is checked by a cold run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    Off,
    ColdRun,
}

/// Whether a test that has failed as containers, which were chosen for it, runs once more as virtual machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    Off,
    AsVirtualMachines,
}

/// Where the output of tests goes: a folder that the user has named, or one by
/// the name of the test.
#[derive(Debug, Clone, Default)]
pub struct OutputLocation(pub Option<PathBuf>);

impl OutputLocation {
    /// The folder of a test that runs alone.
    pub(super) fn of_one(&self, name: &str) -> PathBuf {
        let default = || PathBuf::from(format!("result-{}", file_name(name)));
        self.0.clone().unwrap_or_else(default)
    }

    /// The folder of several tests, in which each has its own.
    pub(super) fn of_many(&self) -> PathBuf {
        self.0.clone().unwrap_or_else(|| PathBuf::from("results"))
    }
}

/// The folder of one of several tests, in that of the run.
pub(super) fn folder_name(label: &str) -> String {
    let name = file_name(label);
    // Such a folder would be hidden, another one, or the run's own.
    match name.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None if is_reserved(&name) => format!("_{name}"),
        None => name,
    }
}

/// A test's name as a part of the name of a file.
fn file_name(name: &str) -> String {
    let plain = |c: char| {
        if c == '/' || c == ':' || c.is_whitespace() || c.is_control() {
            '-'
        } else {
            c
        }
    };
    name.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_have_the_names_of_tests() {
        let named = OutputLocation(Some(PathBuf::from("/o")));
        let unnamed = OutputLocation::default();
        let folders = |location: &OutputLocation| (location.of_one("my test"), location.of_many());
        assert_eq!(folders(&named), ("/o".into(), "/o".into()));
        let expected = ("result-my-test".into(), "results".into());
        assert_eq!(folders(&unnamed), expected);
        assert_eq!(unnamed.of_one("console"), Path::new("result-console"));
        assert_eq!(folder_name("a.b/c:d"), "a.b-c-d");
        assert_eq!(folder_name(".:x"), "_-x");
        assert_eq!(folder_name("console"), "_console");
        assert_eq!(folder_name("attempt-2"), "_attempt-2");
    }
}
