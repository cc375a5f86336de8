//! Which tests of many are meant: expressions over what they are, patterns of names, parts of the whole.
//!
//! May import `digest` and what is below it.

mod expression;
mod partition;
mod pattern;

pub use expression::{Expression, ExpressionError};
pub use partition::{Partition, PartitionError};
pub use pattern::{Pattern, PatternError};

/// What a filter knows of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestSubject<'a> {
    pub name: &'a str,
    /// Its path in the file; empty if the file is the test.
    pub attribute: &'a str,
    /// How many machines it has.
    pub machines: usize,
    /// `passthru.tags` of the test.
    pub tags: &'a [String],
}

/// Chooses tests. The default chooses all.
#[derive(Debug, Clone, Default)]
pub struct TestFilter {
    pub expression: Option<Expression>,
    /// Tests whose name or attribute path fits one of these are left out.
    pub exclude: Vec<Pattern>,
    /// The part of what is chosen otherwise.
    pub partition: Option<Partition>,
}

impl TestFilter {
    /// Whether it chooses all tests there are.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.expression.is_none() && self.exclude.is_empty() && self.partition.is_none()
    }

    /// The chosen ones of some tests, in their order. `subject` says what each is.
    #[must_use]
    pub fn choose<'a, T>(
        &self,
        tests: &'a [T],
        subject: impl Fn(&'a T) -> TestSubject<'a>,
    ) -> Vec<&'a T> {
        let tests = tests.iter().map(|test| (test, subject(test)));
        let mut chosen: Vec<_> = tests.filter(|(_, subject)| self.fits(subject)).collect();
        if let Some(partition) = &self.partition {
            chosen = partition.part_of(chosen);
        }
        chosen.into_iter().map(|(test, _)| test).collect()
    }

    fn fits(&self, test: &TestSubject<'_>) -> bool {
        let is_wanted = self.expression.as_ref().is_none_or(|it| it.fits(test));
        is_wanted && !self.exclude.iter().any(|pattern| pattern.names(test))
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
            tags: &[],
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
        assert!(!filter.is_all());
    }
}
