//! A test that is evaluated and checked, with what the configuration and earlier runs say of it.

use std::path::Path;

use jiff::Zoned;

use super::attempts::AttemptRule;
use super::ends::TestEnd;
use super::error::RunnerError;
use super::request::{RunRequest, TestSelection, TestSettings};
use crate::config::TestPolicy;
use crate::filter::TestSubject;
use crate::history::TestHistory;
use crate::model::manifest::{BackendKind, Manifest};
use crate::model::outcome::{Attempt, Outcome, TestResult};
use crate::nix_cli::{Test, TestSource};

/// The test.
#[derive(Debug)]
pub(super) struct PlannedTest<'a> {
    pub selection: &'a TestSelection,
    /// What it is called among those of the run.
    pub label: String,
    pub test: Test,
    pub policy: TestPolicy,
    pub rule: AttemptRule,
    /// How long it took in earlier runs, in seconds.
    pub expected_s: Option<f64>,
}

impl<'a> PlannedTest<'a> {
    pub fn new(
        request: &RunRequest,
        selection: &'a TestSelection,
        label: String,
        test: Test,
    ) -> Self {
        let subject = TestSubject {
            name: &test.name,
            attribute: &test.attribute,
            machines: test.nodes.len(),
            tags: &test.tags,
        };
        let policy = request.config.policy(&subject, Zoned::now().date());
        let retry = AttemptRule::Retry(policy.retries.unwrap_or_default());
        let source = absolute(&selection.evaluation.place);
        let history = request.history.of(&source, &test.attribute);
        Self {
            rule: request.attempts.unwrap_or(retry),
            expected_s: history.and_then(TestHistory::duration_s),
            selection,
            label,
            policy,
            test,
        }
    }

    /// The settings of the run, with the test's own timeout.
    pub fn settings(&self, request: &RunRequest) -> TestSettings {
        let mut settings = request.settings.clone();
        settings.global_timeout = settings.global_timeout.or(self.policy.timeout);
        settings
    }

    /// How the test has ended, from its attempts.
    pub fn end(&self, attempts: Vec<Attempt>, started_s: f64) -> TestEnd {
        let duration_s = attempts.iter().map(|attempt| attempt.duration_s).sum();
        let slow_s = self.policy.slow_timeout.map(|limit| limit.as_secs_f64());
        let is_slow = |attempt: &Attempt| slow_s.is_some_and(|limit| attempt.duration_s > limit);
        TestEnd {
            result: TestResult {
                outcome: self.rule.outcome(&attempts),
                started_s,
                duration_s,
                backend: backend(&self.test.manifest),
                quarantine: self.policy.quarantine.clone(),
                slow: attempts.iter().any(is_slow),
                attempts,
                ..named(self.selection, &self.label, &self.test.attribute)
            },
            error: None,
        }
    }

    /// The end of a test that does not build, or cannot be begun.
    pub fn failed(&self, error: RunnerError) -> TestEnd {
        let mut end = not_run(self.selection, &self.label, error);
        end.result.attribute.clone_from(&self.test.attribute);
        end.result.quarantine.clone_from(&self.policy.quarantine);
        end
    }
}

/// The end of a test that cannot be run.
pub(super) fn not_run(selection: &TestSelection, label: &str, error: RunnerError) -> TestEnd {
    TestEnd {
        result: TestResult {
            outcome: Outcome::NotRun,
            ..named(selection, label, label)
        },
        error: Some(error),
    }
}

pub(super) fn named(selection: &TestSelection, label: &str, attribute: &str) -> TestResult {
    TestResult {
        label: label.to_owned(),
        source: absolute(&selection.evaluation.place),
        attribute: attribute.to_owned(),
        ..TestResult::default()
    }
}

/// A file by its absolute path, a flake by its reference.
pub(super) fn absolute(source: &TestSource) -> String {
    match source {
        TestSource::File(file) => std::path::absolute(file)
            .as_deref()
            .unwrap_or(file)
            .display()
            .to_string(),
        TestSource::Flake(reference) => reference.clone(),
    }
}

/// What the machines of a test are.
fn backend(manifest: &Manifest) -> Option<String> {
    let nodes = manifest.nodes.values();
    let (containers, machines): (Vec<BackendKind>, _) = nodes
        .map(|node| node.backend)
        .partition(|kind| *kind == BackendKind::Container);
    let name = match (containers.is_empty(), machines.is_empty()) {
        (true, true) => return None,
        (true, false) => "vm",
        (false, true) => "container",
        (false, false) => "mixed",
    };
    Some(name.to_owned())
}

/// A folder as reports of the run name it.
pub(super) fn relative(folder: &Path, run: &Path) -> std::path::PathBuf {
    folder.strip_prefix(run).unwrap_or(folder).to_owned()
}
