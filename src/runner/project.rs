//! The configuration and the earlier runs of a project.

use jiff::Zoned;

use super::error::RunnerError;
use crate::config::{Config, TestPolicy};
use crate::filter::{LastRun, TestFilter, TestSubject};
use crate::history::{History, TestHistory};
use crate::nix_cli::TestNames;

/// The configuration and the history.
#[derive(Debug, Default)]
pub struct Project {
    pub config: Config,
    pub history: History,
}

/// A test that may be chosen.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// The source of the test's selection.
    pub source: &'a str,
    pub names: &'a TestNames,
    pub label: &'a str,
    /// None before the test is evaluated.
    pub backend: Option<&'a str>,
}

/// A thing that a filter may choose.
#[derive(Debug)]
pub enum Choosable<'a> {
    Candidate(Candidate<'a>),
    /// A part that does not evaluate so far, by its label.
    Unknown(&'a str),
}

impl Project {
    /// The tests that a filter chooses, in their order: none if its part of what is chosen otherwise is empty.
    ///
    /// # Errors
    /// Returns an error if none fits.
    pub(super) fn choose<T>(
        &self,
        tests: Vec<T>,
        filter: &TestFilter,
        described: impl Fn(&T) -> Choosable<'_>,
    ) -> Result<Vec<T>, RunnerError> {
        let count = tests.len();
        let meant = self.meant(&tests, filter, &described);
        let is_empty = !meant.contains(&true);
        let whole = TestFilter {
            partition: None,
            ..filter.clone()
        };
        if is_empty && !self.meant(&tests, &whole, &described).contains(&true) {
            let is_rerun = filter.not_passed;
            return Err(if is_rerun {
                RunnerError::NothingToRerun { count }
            } else {
                RunnerError::NoTestFits { count }
            });
        }
        let tests = tests.into_iter().zip(meant);
        Ok(tests
            .filter_map(|(test, is_meant)| is_meant.then_some(test))
            .collect())
    }

    /// Which of the tests a filter means.
    fn meant<'t, T>(
        &self,
        tests: &'t [T],
        filter: &TestFilter,
        described: impl Fn(&'t T) -> Choosable<'t>,
    ) -> Vec<bool> {
        let mut meant = vec![false; tests.len()];
        let mut candidates: Vec<(usize, Described<'_>)> = Vec::new();
        for (position, test) in tests.iter().enumerate() {
            match described(test) {
                Choosable::Candidate(candidate) => {
                    candidates.push((position, self.described(&candidate)));
                }
                Choosable::Unknown(label) => meant[position] = filter.takes_unknown(label),
            }
        }
        for (position, _) in filter.choose(&candidates, |(_, candidate)| candidate.subject()) {
            meant[*position] = true;
        }
        meant
    }

    /// Returns the rules for a test today.
    #[must_use]
    pub fn policy(&self, candidate: &Candidate<'_>) -> TestPolicy {
        let described = self.described(candidate);
        let today = Zoned::now().date();
        self.config.policy(&described.subject(), today)
    }

    /// How long a test takes if it passes, in seconds.
    #[must_use]
    pub fn expected_s(&self, source: &str, attribute: &str) -> Option<f64> {
        self.history.of(source, attribute)?.duration_s()
    }

    /// Whether a test has failed as containers with this identity, and passed as virtual machines.
    #[must_use]
    pub fn is_not_for_containers(&self, source: &str, attribute: &str, identity: &str) -> bool {
        let history = self.history.of(source, attribute);
        history.is_some_and(|history| history.is_not_for_containers(identity))
    }

    /// Returns the tags of a test: its own, and those of the configuration.
    #[must_use]
    pub fn tags(&self, candidate: &Candidate<'_>) -> Vec<String> {
        self.described(candidate).tags
    }

    /// Returns the filters of overrides that fit none of these tests, and none that has run before.
    #[must_use]
    pub fn unused_overrides(&self, candidates: &[Candidate<'_>]) -> Vec<String> {
        let known = self.history.tests();
        let known = known.into_iter().filter_map(TestHistory::last);
        let known = known.map(|entry| TestSubject {
            name: &entry.name,
            attribute: &entry.attribute,
            label: &entry.label,
            ..TestSubject::default()
        });
        let found: Vec<Described<'_>> = candidates.iter().map(|it| self.described(it)).collect();
        let subjects = found.iter().map(Described::subject).chain(known);
        self.config.unused_overrides(&subjects.collect::<Vec<_>>())
    }

    fn described<'a>(&self, candidate: &Candidate<'a>) -> Described<'a> {
        let Candidate {
            source,
            names,
            label,
            backend,
        } = candidate;
        let history = self.history.of(source, &names.attribute);
        let last = self.history.last_outcome(source, &names.attribute);
        let mut described = Described {
            names,
            label,
            backend: *backend,
            tags: names.tags.clone(),
            last: last.map(|outcome| LastRun {
                outcome,
                duration_s: history.and_then(TestHistory::duration_s),
            }),
        };
        let added = self.config.tags(&described.subject());
        described.tags.extend(added);
        described
    }
}

/// A candidate with what is known of it.
#[derive(Debug)]
struct Described<'a> {
    names: &'a TestNames,
    label: &'a str,
    backend: Option<&'a str>,
    tags: Vec<String>,
    last: Option<LastRun>,
}

impl Described<'_> {
    fn subject(&self) -> TestSubject<'_> {
        TestSubject {
            name: &self.names.name,
            attribute: &self.names.attribute,
            label: self.label,
            machines: self.names.nodes.len() + self.names.containers.len(),
            tags: &self.tags,
            backend: self.backend,
            last: self.last,
        }
    }
}
