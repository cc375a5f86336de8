//! The picture of a run of several tests in time: which of them ran side by side.

use maud::{Markup, html};

use super::lanes::Scale;
use super::test::id_of;
use super::{encoded, kind, plain, seconds};
use crate::model::outcome::TestResult;

/// A row for as many tests as ran at a time.
pub(super) fn overview(tests: &[TestResult], duration_s: f64) -> Markup {
    let rows = rows(tests);
    if rows.is_empty() {
        return html! {};
    }
    let ends = rows.iter().flatten().map(Bar::end_s);
    let scale = Scale::new(0.0, ends.fold(duration_s, f64::max));
    html! {
        section.overview aria-label="When the tests ran" {
            @for row in &rows {
                div.track {
                    @for bar in row {
                        a.bar.(kind(bar.test)) href={ "#" (encoded(&id_of(&bar.test.label))) }
                            style=(scale.style(bar.begin_s, bar.end_s()))
                            title=(described(bar.test)) aria-label=(described(bar.test)) { (plain(&bar.test.label)) }
                    }
                }
            }
            p.time { "When the tests ran, from the start of the run to its end after " (seconds(duration_s)) }
        }
    }
}

/// A test that has run.
struct Bar<'a> {
    test: &'a TestResult,
    begin_s: f64,
}

impl Bar<'_> {
    fn end_s(&self) -> f64 {
        self.begin_s + self.test.duration_s
    }
}

fn described(test: &TestResult) -> String {
    let (label, outcome) = (plain(&test.label), test.outcome.name());
    format!("{label}: {outcome}, {}", seconds(test.duration_s))
}

/// The tests that have run, each in the first row that was free when it began.
fn rows(tests: &[TestResult]) -> Vec<Vec<Bar<'_>>> {
    let begun = tests.iter().filter_map(|test| {
        let begin_s = test.started_s.filter(|_| !test.attempts.is_empty())?;
        Some(Bar { test, begin_s })
    });
    let mut begun: Vec<Bar<'_>> = begun.collect();
    begun.sort_by(|left, right| left.begin_s.total_cmp(&right.begin_s));
    let mut rows: Vec<Vec<Bar<'_>>> = Vec::new();
    for bar in begun {
        let is_free = |row: &&mut Vec<Bar<'_>>| {
            let last = row.last();
            last.is_none_or(|last| last.end_s() <= bar.begin_s)
        };
        match rows.iter_mut().find(is_free) {
            Some(row) => row.push(bar),
            None => rows.push(vec![bar]),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::Verdict;
    use crate::model::outcome::Attempt;

    #[test]
    fn tests_that_ran_side_by_side_have_rows_of_their_own() {
        let test = |label: &str, started_s, duration_s| TestResult {
            label: label.to_owned(),
            started_s: Some(started_s),
            duration_s,
            attempts: vec![Attempt {
                seed: None,
                verdict: Verdict::Passed,
                duration_s,
                folder: label.into(),
            }],
            ..TestResult::default()
        };
        let tests = [
            test("c", 3.0, 1.0),
            test("a", 0.0, 2.0),
            test("b", 1.0, 5.0),
        ];
        let rows = rows(&tests);
        let labels: Vec<Vec<&str>> = rows
            .iter()
            .map(|row| row.iter().map(|bar| bar.test.label.as_str()).collect())
            .collect();
        assert_eq!(labels, [vec!["a", "c"], vec!["b"]]);
        assert!(super::rows(&[TestResult::default()]).is_empty());
    }
}
