//! What a project's configuration and its earlier runs say of tests.

use std::fs;

use jiff::Zoned;

use crate::config::{Config, TestPolicy};
use crate::filter::{LastRun, TestFilter, TestSubject};
use crate::history::{History, TestHistory};
use crate::nix_cli::{TestNames, TestSource};

/// The configuration and the history.
#[derive(Debug, Default)]
pub struct Project {
    pub config: Config,
    pub history: History,
}

/// A test that may be chosen.
#[derive(Debug)]
pub struct Candidate<'a> {
    pub place: &'a TestSource,
    pub names: &'a TestNames,
    pub label: &'a str,
    /// None before the test is evaluated.
    pub backend: Option<&'a str>,
}

impl Project {
    /// The positions of the candidates that a filter chooses.
    #[must_use]
    pub fn choose(&self, candidates: &[Candidate<'_>], filter: &TestFilter) -> Vec<usize> {
        let described: Vec<(usize, Described<'_>)> = candidates
            .iter()
            .map(|candidate| self.described(candidate))
            .enumerate()
            .collect();
        let chosen = filter.choose(&described, |(_, described)| described.subject());
        chosen.into_iter().map(|(position, _)| *position).collect()
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
    pub fn expected_s(&self, place: &TestSource, attribute: &str) -> Option<f64> {
        self.history_of(place, attribute)?.duration_s()
    }

    fn history_of(&self, place: &TestSource, attribute: &str) -> Option<&TestHistory> {
        self.history.of(&absolute(place), attribute)
    }

    fn described<'a>(&self, candidate: &Candidate<'a>) -> Described<'a> {
        let Candidate {
            place,
            names,
            label,
            backend,
        } = candidate;
        let history = self.history_of(place, &names.attribute);
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

/// A file by its own path, a flake by its reference: what names it in the history.
pub(super) fn absolute(source: &TestSource) -> String {
    match source {
        TestSource::File(file) => fs::canonicalize(file)
            .or_else(|_| std::path::absolute(file))
            .as_deref()
            .unwrap_or(file)
            .display()
            .to_string(),
        TestSource::Flake(reference) => reference.clone(),
    }
}
