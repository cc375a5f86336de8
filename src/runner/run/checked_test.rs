//! A test that is evaluated and checked, with its rules from the configuration and its time in earlier runs.

use std::sync::atomic::{AtomicU64, Ordering};

use super::ends::TestEnd;
use crate::config::TestPolicy;
use crate::host::Seed;
use crate::model::event::{Event, Level};
use crate::model::outcome::{Attempt, Outcome, TestResult};
use crate::nix_cli::TestNames;
use crate::runner::attempts::{AttemptRule, Attempts};
use crate::runner::error::RunnerError;
use crate::runner::found_test::{FoundTest, left_out};
use crate::runner::project::Candidate;
use crate::runner::request::{RunRequest, TestSelection};
use crate::session::RunSettings;

/// The test, and the `work` to be done for it: its machines to run, or its derivation to build.
#[derive(Debug)]
pub(in crate::runner) struct CheckedTest<'a, Work> {
    pub selection: &'a TestSelection,
    /// The name of the test among those of the run.
    pub label: String,
    pub names: TestNames,
    pub work: Work,
    pub policy: TestPolicy,
    pub rule: AttemptRule,
    /// How many seeds its attempts have taken.
    pub seeds: AtomicU64,
    /// How long it took in earlier runs, in seconds.
    pub expected_s: Option<f64>,
    /// The kind of its machines; `None` if that is not known.
    backend: Option<&'static str>,
}

impl<'a, Work> CheckedTest<'a, Work> {
    /// Returns a test that was found, with what `check` makes of it: the kind of its machines.
    ///
    /// # Errors
    /// Returns the end of the test if it does not evaluate or is not fit to run.
    pub fn of_found(
        request: &RunRequest,
        found: FoundTest<'a, Work>,
        check: impl FnOnce(&Work) -> Result<Option<&'static str>, RunnerError>,
    ) -> Result<Self, Box<TestEnd>> {
        let expected_s = found.expected_s(&request.project);
        let FoundTest {
            selection,
            label,
            names,
            test,
        } = found;
        let checked = test.and_then(|work| {
            let backend = check(&work)?;
            Ok((work, backend))
        });
        let backend = checked.as_ref().map_or(None, |(_, backend)| *backend);
        let policy = request.project.policy(&Candidate {
            source: &selection.source,
            names: &names,
            label: &label,
            backend,
        });
        match checked {
            Ok((work, backend)) => {
                let retry = AttemptRule::Retry(policy.retries.unwrap_or_default());
                Ok(Self {
                    rule: request.attempts.unwrap_or(retry),
                    selection,
                    label,
                    names,
                    work,
                    policy,
                    seeds: AtomicU64::default(),
                    expected_s,
                    backend,
                })
            }
            Err(error) => Err(Box::new(TestEnd {
                result: TestResult {
                    outcome: Outcome::NotRun,
                    quarantine: policy.quarantine,
                    ..left_out(selection, &label, &names)
                },
                error: Some(error),
            })),
        }
    }

    /// Returns the test with other work, which is done once.
    pub fn with_work(&self, work: Work, backend: Option<&'static str>) -> Self {
        Self {
            selection: self.selection,
            label: self.label.clone(),
            names: self.names.clone(),
            work,
            policy: self.policy.clone(),
            rule: AttemptRule::Retry(0),
            seeds: AtomicU64::default(),
            expected_s: self.expected_s,
            backend,
        }
    }

    /// Returns what the configuration warns of, as an event.
    pub fn warning(&self) -> Option<Event> {
        let warning = self.policy.warning()?;
        Some(Event::note(Level::Warning, warning))
    }

    /// Returns the settings of the next attempt, with the test's own timeout, and its seed if each attempt has another.
    pub fn settings(&self, request: &RunRequest) -> RunSettings {
        let mut settings = request.settings.clone();
        settings.global_timeout = settings.global_timeout.or(self.policy.timeout);
        if let Some(first) = request.first_seed {
            let number = first.saturating_add(self.seeds.fetch_add(1, Ordering::Relaxed));
            settings.seed = Some(Seed::Given(number));
        }
        settings.failed_units = self.policy.failed_units.unwrap_or(settings.failed_units);
        settings
    }

    /// Returns the end of a test whose turn has not come.
    pub fn left_out(&self) -> TestEnd {
        self.end_of(Vec::new())
    }

    /// Returns the end of the test by its attempts, the first of which began `started_s` after the run, if that is known.
    pub fn end(&self, attempts: Attempts, started_s: Option<f64>) -> TestEnd {
        let mut end = self.end_of(attempts.all);
        end.result.started_s = started_s;
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
                backend: self.backend.map(str::to_owned),
                quarantine: self.policy.quarantine.clone(),
                expected_s: self.expected_s,
                slow: attempts.iter().any(is_slow),
                attempts,
                ..left_out(self.selection, &self.label, &self.names)
            },
            error: None,
        }
    }

    /// Returns the end of a test that does not build, cannot be begun, or whose output is lost.
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
