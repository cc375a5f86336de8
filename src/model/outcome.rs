//! How tests have ended, as data: what reports, the history and the exit code are made from.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The version of [`RunResults`]: a field that goes, or changes its meaning, makes a new one.
pub const RESULTS_VERSION: u32 = 1;

/// How one attempt at a test has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Passed,
    Failed,
    /// The host or Snowglobe failed, not the test.
    Error,
    Interrupted,
    /// An interactive session has ended: there is no verdict.
    SessionClosed,
}

/// How a test has ended, with all its attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Passed,
    /// The test has passed, but not at the first attempt.
    Flaky,
    Failed,
    /// The host or Snowglobe failed, not the test.
    Error,
    /// The test does not evaluate or build, or its script is wrong.
    NotRun,
    Interrupted,
    /// The run has ended before its turn.
    #[default]
    LeftOut,
    /// An interactive session has ended: there is no verdict.
    SessionClosed,
}

impl Outcome {
    /// In the order in which they are counted.
    pub const ALL: [Self; 8] = [
        Self::Passed,
        Self::Flaky,
        Self::Failed,
        Self::Error,
        Self::NotRun,
        Self::Interrupted,
        Self::LeftOut,
        Self::SessionClosed,
    ];

    /// How often each of them is among some, without those that are not, in the order of [`Self::ALL`].
    #[must_use]
    pub fn count(outcomes: impl Iterator<Item = Self>) -> Vec<(usize, Self)> {
        let outcomes: Vec<Self> = outcomes.collect();
        let counted = Self::ALL.into_iter().map(|outcome| {
            let count = outcomes.iter().filter(|other| **other == outcome).count();
            (count, outcome)
        });
        counted.filter(|(count, _)| *count > 0).collect()
    }

    /// How often each of them is among some, as people read it: `2 passed`.
    pub fn count_in_words(outcomes: impl Iterator<Item = Self>) -> Vec<String> {
        let counted = Self::count(outcomes).into_iter();
        counted
            .map(|(count, outcome)| format!("{count} {}", outcome.name()))
            .collect()
    }

    /// As people read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Flaky => "flaky",
            Self::Failed => "failed",
            Self::Error => "error",
            Self::NotRun => "not run",
            Self::Interrupted => "interrupted",
            Self::LeftOut => "left out",
            Self::SessionClosed => "session closed",
        }
    }

    /// Whether nothing is wrong with the test.
    #[must_use]
    pub fn is_good(self) -> bool {
        matches!(self, Self::Passed | Self::Flaky | Self::SessionClosed)
    }

    /// Returns the outcome of a test with one attempt.
    #[must_use]
    pub fn of_verdict(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Passed => Self::Passed,
            Verdict::Failed => Self::Failed,
            Verdict::Error => Self::Error,
            Verdict::Interrupted => Self::Interrupted,
            Verdict::SessionClosed => Self::SessionClosed,
        }
    }
}

/// One attempt at a test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Attempt {
    pub verdict: Verdict,
    pub duration_s: f64,
    /// Its output folder, relative to that of the run.
    pub folder: PathBuf,
    /// The seed of its random numbers, if the user has given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// The part that kept a test from running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// The test does not evaluate, its script is wrong, or the command asks for something that does not exist.
    Test,
    /// The test does not build.
    Build,
    /// The host or Snowglobe failed.
    Host,
}

/// Why a test that fails does not fail the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Quarantine {
    pub reason: String,
    /// The last day, as `2026-12-31`.
    pub until: Option<String>,
}

/// One test of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TestResult {
    /// The name of the test among those of the run.
    pub label: String,
    /// The file or flake.
    pub source: String,
    /// The attribute path in it; empty if the file is the test.
    pub attribute: String,
    /// Its own name; empty if that is not known.
    #[serde(default)]
    pub name: String,
    pub outcome: Outcome,
    /// Seconds after the start of the run; None if it did not run, or Nix knew how it ends.
    pub started_s: Option<f64>,
    /// Seconds of all attempts together.
    pub duration_s: f64,
    pub attempts: Vec<Attempt>,
    /// How long it takes by earlier runs, in seconds.
    pub expected_s: Option<f64>,
    /// `vm`, `container`, or `mixed`; None for a test that was not evaluated.
    pub backend: Option<String>,
    pub quarantine: Option<Quarantine>,
    /// Whether it took longer than its `slow-timeout`.
    pub slow: bool,
    /// Whether a process of the script was left that held its output open.
    pub leaky: bool,
    /// The identity of its machines and script, if it has failed as containers that were chosen for it and passed as
    /// virtual machines. As long as both stay as they are, it begins as virtual machines.
    #[serde(default)]
    pub not_as_containers: Option<String>,
    /// Why it was not run.
    pub message: Option<String>,
    /// The part that kept the test from running.
    #[serde(default)]
    pub obstacle: Option<Obstacle>,
}

/// Seeds that a line names at most.
const MOST_SEEDS: usize = 20;

impl TestResult {
    /// Names the seeds of the attempts that have not passed, for the end of a list; an empty text if the user has given
    /// none.
    #[must_use]
    pub fn failed_seeds(&self) -> String {
        let failed = self.attempts.iter();
        let failed = failed.filter(|attempt| !Outcome::of_verdict(attempt.verdict).is_good());
        let seeds: Vec<u64> = failed.filter_map(|attempt| attempt.seed).collect();
        if seeds.is_empty() {
            return String::new();
        }
        let shown = seeds.iter().take(MOST_SEEDS).map(u64::to_string);
        let shown = shown.collect::<Vec<_>>().join(", ");
        let more = if seeds.len() > MOST_SEEDS {
            ", …"
        } else {
            ""
        };
        format!("; failed with --seed {shown}{more}")
    }

    /// Whether it fails the run.
    #[must_use]
    pub fn counts_as_failure(&self) -> bool {
        !self.outcome.is_good() && self.quarantine.is_none()
    }

    /// Whether it would fail the run, were it not in quarantine.
    #[must_use]
    pub fn is_excused(&self) -> bool {
        let has_failed = !self.outcome.is_good() && self.outcome != Outcome::LeftOut;
        has_failed && self.quarantine.is_some()
    }
}

/// All tests of a run: the file `run.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunResults {
    pub version: u32,
    /// Seconds since 1970.
    pub started_unix_s: u64,
    pub duration_s: f64,
    /// Whether the user has ended it.
    #[serde(default)]
    pub interrupted: bool,
    /// Reasons why parts of a merged run are missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    pub tests: Vec<TestResult>,
}
