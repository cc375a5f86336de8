//! A test that is evaluated and checked, with what the configuration and earlier runs say of it.

use super::attempts::AttemptRule;
use super::attempts::Attempts;
use super::ends::TestEnd;
use super::error::RunnerError;
use super::evaluation::FoundTest;
use super::frontend::Frontend;
use super::project::Candidate;
use super::request::{RunRequest, TestSelection, TestSettings};
use super::schedule::Demand;
use super::test_run::check_test;
use crate::config::TestPolicy;
use crate::model::manifest::{BackendKind, Manifest, Node};
use crate::model::outcome::{Attempt, Outcome, TestResult};
use crate::nix_cli::{Test, TestNames};
use crate::qemu::Accelerator;

/// The test.
#[derive(Debug)]
pub(super) struct CheckedTest<'a> {
    pub selection: &'a TestSelection,
    /// The name of the test among those of the run.
    pub label: String,
    pub test: Test,
    pub policy: TestPolicy,
    pub rule: AttemptRule,
    /// How long it took in earlier runs, in seconds.
    pub expected_s: Option<f64>,
}

impl<'a> CheckedTest<'a> {
    pub fn new(
        request: &RunRequest,
        selection: &'a TestSelection,
        label: String,
        test: Test,
    ) -> Self {
        let backend = backend(&test.manifest);
        let policy = policy_of(request, selection, &label, &test.names(), backend);
        let retry = AttemptRule::Retry(policy.retries.unwrap_or_default());
        Self {
            rule: request.attempts.unwrap_or(retry),
            expected_s: request
                .project
                .expected_s(&selection.source, &test.attribute),
            selection,
            label,
            policy,
            test,
        }
    }

    /// A test that is found, checked.
    ///
    /// # Errors
    /// Its end, if it cannot be run.
    pub fn of_found(
        request: &RunRequest,
        found: FoundTest<'a, Test>,
        frontend: &dyn Frontend,
    ) -> Result<Self, Box<TestEnd>> {
        let FoundTest {
            selection,
            label,
            names,
            test,
        } = found;
        let checked = test.and_then(|test| {
            check_test(request, &test, frontend)?;
            Ok(test)
        });
        match checked {
            Ok(test) => Ok(Self::new(request, selection, label, test)),
            Err(error) => Err(Box::new(not_run(request, selection, &label, &names, error))),
        }
    }

    /// Returns the resources that the machines take together.
    pub fn demand(&self, accelerator: Accelerator) -> Demand {
        let groups = self.policy.groups.clone();
        Demand::of(&self.test.manifest, accelerator, groups)
    }

    /// The settings of the run, with the test's own timeout.
    pub fn settings(&self, request: &RunRequest) -> TestSettings {
        let mut settings = request.settings.clone();
        settings.global_timeout = settings.global_timeout.or(self.policy.timeout);
        settings.slow_timeout = self.policy.slow_timeout;
        settings
    }

    /// The end of a test whose turn has not come.
    pub fn left_out(&self) -> TestEnd {
        self.end_of(Vec::new())
    }

    /// How the test has ended, from its attempts.
    pub fn end(&self, attempts: Attempts, started_s: f64) -> TestEnd {
        let mut end = self.end_of(attempts.all);
        end.result.started_s = Some(started_s);
        end.error = attempts.error;
        if end.error.is_some() && end.result.outcome.is_good() {
            end.result.outcome = Outcome::Error;
        }
        end
    }

    fn end_of(&self, attempts: Vec<Attempt>) -> TestEnd {
        // Not `sum`, which is -0 without any.
        let duration_s = attempts
            .iter()
            .fold(0.0, |sum, attempt| sum + attempt.duration_s);
        let slow_s = self.policy.slow_timeout.map(|limit| limit.as_secs_f64());
        let is_slow = |attempt: &Attempt| slow_s.is_some_and(|limit| attempt.duration_s > limit);
        TestEnd {
            result: TestResult {
                outcome: self.rule.outcome(&attempts),
                duration_s,
                backend: backend(&self.test.manifest).map(str::to_owned),
                quarantine: self.policy.quarantine.clone(),
                expected_s: self.expected_s,
                slow: attempts.iter().any(is_slow),
                attempts,
                ..left_out(self.selection, &self.label, &self.test.names())
            },
            error: None,
        }
    }

    /// The end of a test that does not build, cannot be begun, or whose output is lost.
    pub fn failed(&self, error: RunnerError) -> TestEnd {
        let is_lost = matches!(error, RunnerError::OutputLost { .. });
        let mut end = self.left_out();
        end.result.outcome = if is_lost {
            Outcome::Error
        } else {
            Outcome::NotRun
        };
        end.error = Some(error);
        end
    }
}

/// The end of a test that cannot be run.
pub(super) fn not_run(
    request: &RunRequest,
    selection: &TestSelection,
    label: &str,
    names: &TestNames,
    error: RunnerError,
) -> TestEnd {
    TestEnd {
        result: TestResult {
            outcome: Outcome::NotRun,
            quarantine: policy_of(request, selection, label, names, None).quarantine,
            ..left_out(selection, label, names)
        },
        error: Some(error),
    }
}

/// Returns the rules of the configuration for a test.
pub(super) fn policy_of(
    request: &RunRequest,
    selection: &TestSelection,
    label: &str,
    names: &TestNames,
    backend: Option<&str>,
) -> TestPolicy {
    request.project.policy(&Candidate {
        source: &selection.source,
        names,
        label,
        backend,
    })
}

/// The result of a test that has not ended yet: as long as nothing else is known, it was left out.
pub(super) fn left_out(selection: &TestSelection, label: &str, names: &TestNames) -> TestResult {
    TestResult {
        label: label.to_owned(),
        source: selection.source.clone(),
        attribute: names.attribute.clone(),
        name: names.name.clone(),
        ..TestResult::default()
    }
}

/// Returns the kind of a test's machines: `vm`, `container` or `mixed`; `None` without machines.
pub(super) fn backend(manifest: &Manifest) -> Option<&'static str> {
    let kinds = manifest.nodes.values().filter_map(Node::kind);
    let (containers, machines): (Vec<BackendKind>, _) =
        kinds.partition(|kind| *kind == BackendKind::Container);
    match (containers.is_empty(), machines.is_empty()) {
        (true, true) => None,
        (true, false) => Some("vm"),
        (false, true) => Some("container"),
        (false, false) => Some("mixed"),
    }
}
