//! Which tests of many are meant: expressions over what they are, patterns of names, parts of the whole.

mod expression;
mod numbers;
mod partition;
mod pattern;

use crate::model::outcome::Outcome;

pub use expression::{Expression, ExpressionError};
pub use numbers::length_of_time;
pub use partition::{Partition, PartitionError};
pub use pattern::{Pattern, PatternError};

/// The facts that a filter knows of a test.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TestSubject<'a> {
    pub name: &'a str,
    /// Its path in the file; empty if the file is the test.
    pub attribute: &'a str,
    /// The name of the test among those of the run: with its file if another test has the same name.
    pub label: &'a str,
    /// How many machines it has.
    pub machines: usize,
    /// `passthru.tags` of the test, and those of `snowglobe.toml`.
    pub tags: &'a [String],
    /// `vm`, `container` or `mixed`; None before the test is evaluated.
    pub backend: Option<&'a str>,
    pub last: Option<LastRun>,
}

/// The result of a test in earlier runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LastRun {
    pub outcome: Outcome,
    /// How long it takes if it passes, in seconds.
    pub duration_s: Option<f64>,
}

/// Chooses tests. The default chooses all.
#[derive(Debug, Clone, Default)]
pub struct TestFilter {
    pub expression: Option<Expression>,
    /// Tests whose name or attribute path fits one of these are left out.
    pub exclude: Vec<Pattern>,
    /// Whether only those are meant that did not pass, or did not run, last time.
    pub not_passed: bool,
    /// The part of what is chosen otherwise.
    pub partition: Option<Partition>,
}

impl TestFilter {
    /// Whether it chooses all tests there are.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.expression.is_none()
            && self.exclude.is_empty()
            && !self.not_passed
            && self.partition.is_none()
    }

    /// Whether tests have to be evaluated before it can choose.
    #[must_use]
    pub fn needs_backends(&self) -> bool {
        let expression = self.expression.as_ref();
        expression.is_some_and(Expression::needs_backends)
    }

    /// The chosen ones of some tests, in their order, with those that cannot be decided before they are evaluated.
    /// `subject` says what each is.
    #[must_use]
    pub fn choose<'a, T>(
        &self,
        tests: &'a [T],
        subject: impl Fn(&'a T) -> TestSubject<'a>,
    ) -> Vec<&'a T> {
        let tests = tests.iter().map(|test| (test, subject(test)));
        let mut chosen: Vec<_> = tests
            .filter(|(_, subject)| self.fits(subject) != Some(false))
            .collect();
        // A part of what may still become less would be another one for each run, and one of a part less than is meant.
        let is_last =
            !self.needs_backends() || chosen.iter().all(|(_, subject)| subject.backend.is_some());
        if let Some(partition) = self.partition.as_ref().filter(|_| is_last) {
            chosen = partition.part_of(chosen);
        }
        chosen.into_iter().map(|(test, _)| test).collect()
    }

    /// Whether something is meant of which there is no more than a label, such as a file that does not evaluate. It
    /// is an error, of one part alone.
    #[must_use]
    pub fn takes_unknown(&self, label: &str) -> bool {
        let is_excluded = self.exclude.iter().any(|pattern| pattern.fits(label));
        let is_of_part = |partition: &Partition| partition.takes_label(label);
        !is_excluded && self.partition.as_ref().is_none_or(is_of_part)
    }

    /// None if that shows only when the test is evaluated.
    fn fits(&self, test: &TestSubject<'_>) -> Option<bool> {
        let has_passed = test.last.is_none_or(|last| last.outcome.is_good());
        let is_excluded = self.exclude.iter().any(|pattern| pattern.names(test));
        if is_excluded || self.not_passed && has_passed {
            return Some(false);
        }
        self.expression
            .as_ref()
            .map_or(Some(true), |it| it.fits(test))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_of_a_filter_hold() {
        static NAMES: [&str; 4] = ["a1", "a2", "a3", "b1"];
        let subject = |name: &'static &str| TestSubject {
            name,
            attribute: "",
            machines: 1,
            ..TestSubject::default()
        };
        let chosen = |filter: &TestFilter| -> Vec<&str> {
            filter
                .choose(&NAMES, subject)
                .into_iter()
                .copied()
                .collect()
        };
        let mut filter = TestFilter::default();
        assert!(filter.is_all());
        assert_eq!(chosen(&filter), NAMES);
        filter.expression = Some("a*".parse().unwrap());
        filter.exclude = vec!["*2".parse().unwrap()];
        assert_eq!(chosen(&filter), ["a1", "a3"]);
        filter.partition = Some("slice:2/2".parse().unwrap());
        assert_eq!(chosen(&filter), ["a3"]);
        let parts = ["slice:1/2", "slice:2/2"].map(|part| {
            filter.partition = Some(part.parse().unwrap());
            (filter.takes_unknown("broken"), filter.takes_unknown("b2"))
        });
        assert!(
            parts == [(true, false), (false, false)] || parts == [(false, false), (true, false)]
        );
        assert!(!filter.is_all());
    }
}
