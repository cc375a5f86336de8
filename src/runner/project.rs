//! What a project's configuration and its earlier runs say of tests.

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
    /// That of its selection.
    pub source: &'a str,
    pub names: &'a TestNames,
    pub label: &'a str,
    /// None before the test is evaluated.
    pub backend: Option<&'a str>,
}

impl Project {
    /// The tests that a filter chooses, in their order. What is no candidate is chosen, too: it is an error.
    ///
    /// # Errors
    /// When none fits.
    pub(super) fn choose<T>(
        &self,
        tests: Vec<T>,
        filter: &TestFilter,
        candidate: impl Fn(&T) -> Option<Candidate<'_>>,
    ) -> Result<Vec<T>, RunnerError> {
        let count = tests.len();
        let candidates: Vec<Option<Candidate<'_>>> = tests.iter().map(candidate).collect();
        let described: Vec<(usize, Described<'_>)> = candidates
            .iter()
            .enumerate()
            .filter_map(|(position, candidate)| {
                Some((position, self.described(candidate.as_ref()?)))
            })
            .collect();
        let mut meant: Vec<bool> = candidates.iter().map(Option::is_none).collect();
        for (position, _) in filter.choose(&described, |(_, described)| described.subject()) {
            meant[*position] = true;
        }
        let tests = tests.into_iter().zip(meant);
        let chosen: Vec<T> = tests
            .filter_map(|(test, meant)| meant.then_some(test))
            .collect();
        if chosen.is_empty() {
            return Err(RunnerError::NoTestFits { count });
        }
        Ok(chosen)
    }

    /// What holds for a test today.
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

    fn described<'a>(&self, candidate: &Candidate<'a>) -> Described<'a> {
        let Candidate {
            source,
            names,
            label,
            backend,
        } = candidate;
        let history = self.history.of(source, &names.attribute);
        let last = history.and_then(TestHistory::last);
        let mut described = Described {
            names,
            label,
            backend: *backend,
            tags: names.tags.clone(),
            last: last.map(|last| LastRun {
                outcome: last.outcome,
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
