//! Subtests as cases of a report, whose times add up.

use crate::model::event::Failure;

/// A finished subtest.
#[derive(Debug, Clone, PartialEq)]
pub struct SubtestCase {
    pub name: String,
    /// Without the subtests in it, so that all of them add up.
    pub own_s: f64,
    pub failure: Option<Failure>,
}

/// The subtests that have finished.
#[derive(Debug, Default)]
pub struct SubtestCases {
    pub all: Vec<SubtestCase>,
    /// Begin and seconds of the subtests that are in no other, so far.
    outermost: Vec<(f64, f64)>,
}

impl SubtestCases {
    /// One has finished, at a time of the run.
    pub fn add(&mut self, time_s: f64, name: String, duration_s: f64, failure: Option<Failure>) {
        let begin_s = time_s - duration_s;
        let inner = self
            .outermost
            .extract_if(.., |(begin, _)| *begin >= begin_s);
        let inner_s: f64 = inner.map(|(_, duration)| duration).sum();
        self.outermost.push((begin_s, duration_s));
        self.all.push(SubtestCase {
            name,
            own_s: (duration_s - inner_s).max(0.0),
            failure,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_subtests_add_up() {
        let mut cases = SubtestCases::default();
        cases.add(3.0, "inner".to_owned(), 1.0, None);
        cases.add(5.0, "outer".to_owned(), 4.0, None);
        cases.add(7.0, "next".to_owned(), 2.0, None);
        let own: Vec<(&str, f64)> = cases
            .all
            .iter()
            .map(|it| (it.name.as_str(), it.own_s))
            .collect();
        assert_eq!(own, [("inner", 1.0), ("outer", 3.0), ("next", 2.0)]);
    }
}
