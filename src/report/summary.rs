//! The summary of a run when all its tests have ended.

use console::style;

use crate::model::outcome::{Outcome, RunResults, TestResult};

/// From how many tests on the slowest ones are named, and how many of them.
const TESTS_FOR_SLOWEST: usize = 4;
const SLOWEST: usize = 3;

/// The counts, the tests that need attention, and the slowest.
pub(super) fn summary(results: &RunResults) -> Vec<String> {
    let tests = &results.tests;
    let head = format!("{} tests in {:.1} s", tests.len(), results.duration_s);
    let head = match counts(tests) {
        counts if counts.is_empty() => head,
        counts => format!("{head}: {counts}"),
    };
    let mut lines = vec![style(head).bold().to_string()];
    let mut sorted: Vec<&TestResult> = tests.iter().collect();
    let rank = |outcome: Outcome| Outcome::ALL.iter().position(|other| *other == outcome);
    sorted.sort_by_key(|test| (rank(test.outcome), &test.label));
    let named = sorted.into_iter().filter_map(attention);
    lines.extend(named.map(|text| format!("  {text}")));
    lines.extend(slowest(tests));
    lines
}

/// How many tests have ended how. Those in quarantine are counted apart.
pub fn counts(tests: &[TestResult]) -> String {
    let excused = tests.iter().filter(|test| test.is_excused()).count();
    let ended = tests.iter().filter(|test| !test.is_excused());
    let mut parts = Outcome::count_in_words(ended.map(|test| test.outcome));
    if excused > 0 {
        parts.push(format!("{excused} in quarantine"));
    }
    parts.join(", ")
}

/// Returns the line for a test that has not simply passed.
fn attention(test: &TestResult) -> Option<String> {
    let name = test.outcome.name();
    let label = &test.label;
    let passed = test.attempts.iter();
    let passed = passed.filter(|attempt| Outcome::of_verdict(attempt.verdict) == Outcome::Passed);
    let passed = passed.count();
    let count = test.attempts.len();
    let mut said = match (&test.quarantine, test.outcome) {
        (Some(quarantine), _) if test.is_excused() => {
            let until = quarantine.until.as_ref();
            let until = until.map_or(String::new(), |day| format!(", until {day}"));
            format!(
                "in quarantine: {label} ({name}: {}{until})",
                quarantine.reason
            )
        }
        (_, Outcome::Flaky) => format!("{name}: {label} (passed at attempt {count})"),
        (_, Outcome::Failed | Outcome::Error) if count > 1 => {
            let seeds = test.failed_seeds();
            format!("{name}: {label} ({count} attempts, {passed} passed{seeds})")
        }
        // There may be thousands.
        (_, Outcome::LeftOut) => return None,
        (_, outcome) if !outcome.is_good() => format!("{name}: {label}"),
        _ => String::new(),
    };
    for (holds, mark) in [(test.slow, "slow"), (test.leaky, "leaves processes")] {
        if holds && said.is_empty() {
            said = format!("{mark}: {label}");
        } else if holds {
            said = format!("{said} [{mark}]");
        }
    }
    (!said.is_empty()).then_some(said)
}

fn slowest(tests: &[TestResult]) -> Option<String> {
    let mut run: Vec<&TestResult> = tests.iter().filter(|it| !it.attempts.is_empty()).collect();
    if run.len() < TESTS_FOR_SLOWEST {
        return None;
    }
    run.sort_by(|left, right| right.duration_s.total_cmp(&left.duration_s));
    let named = run.iter().take(SLOWEST);
    let named: Vec<String> = named
        .map(|test| format!("{} ({:.1} s)", test.label, test.duration_s))
        .collect();
    Some(format!("slowest: {}", named.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::model::event::Verdict;
    use crate::model::outcome::{Attempt, Quarantine};

    fn test(label: &str, outcome: Outcome, verdicts: &[Verdict]) -> TestResult {
        let attempt = |verdict: &Verdict| Attempt {
            verdict: *verdict,
            duration_s: 1.0,
            folder: PathBuf::new(),
            seed: None,
        };
        TestResult {
            label: label.to_owned(),
            outcome,
            attempts: verdicts.iter().map(attempt).collect(),
            duration_s: attempts_s(verdicts),
            ..TestResult::default()
        }
    }

    /// A second for each.
    fn attempts_s(verdicts: &[Verdict]) -> f64 {
        verdicts.iter().map(|_| 1.0).sum()
    }

    #[test]
    fn all_tests_are_counted_and_those_that_need_attention_named() {
        use Verdict::{Failed, Passed};
        let quarantined = TestResult {
            quarantine: Some(Quarantine {
                reason: "loses packets".to_owned(),
                until: Some("2026-12-31".to_owned()),
            }),
            ..test("net", Outcome::Failed, &[Failed])
        };
        let slow = TestResult {
            slow: true,
            ..test("big", Outcome::Passed, &[Passed])
        };
        let tests = vec![
            test("good", Outcome::Passed, &[Passed]),
            test("luck", Outcome::Flaky, &[Failed, Passed]),
            test("bad", Outcome::Failed, &[Failed]),
            test("hunt", Outcome::Failed, &[Passed, Failed, Passed]),
            test("later", Outcome::LeftOut, &[]),
            quarantined,
            slow,
        ];
        let results = RunResults {
            version: 1,
            started_unix_s: 0,
            duration_s: 12.34,
            interrupted: false,
            missing: Vec::new(),
            tests,
        };
        assert_eq!(
            summary(&results),
            [
                "7 tests in 12.3 s: 2 passed, 1 flaky, 2 failed, 1 left out, 1 in quarantine",
                "  slow: big",
                "  flaky: luck (passed at attempt 2)",
                "  failed: bad",
                "  failed: hunt (3 attempts, 2 passed)",
                "  in quarantine: net (failed: loses packets, until 2026-12-31)",
                "slowest: hunt (3.0 s), luck (2.0 s), good (1.0 s)",
            ]
        );
    }
}
