//! What is said at the end of a run of several tests.

use crate::model::event::Verdict;
use crate::report::word;
use crate::runner::{RunSummary, TestEnd};

/// How many tests have ended how, and which have not passed; empty for a single test.
pub fn summary(run: &RunSummary) -> String {
    if run.count < 2 {
        return String::new();
    }
    let words: Vec<&str> = run.ends.iter().map(word_of).collect();
    let left_out = run.count - run.ends.len();
    let counted = VERDICTS.map(word).into_iter().chain([NOT_RUN]);
    let parts = counted.filter_map(|word| {
        let count = words.iter().filter(|found| **found == word).count();
        (count > 0).then(|| format!("{count} {word}"))
    });
    let left_out = (left_out > 0).then(|| format!("{left_out} left out"));
    let parts: Vec<String> = parts.chain(left_out).collect();
    let head = format!("{} tests: {}\n", run.count, parts.join(", "));
    let ends = run.ends.iter().zip(&words);
    let lines = ends.filter(|(end, _)| !end.is_passed());
    let lines = lines.map(|(end, word)| format!("  {word}: {}\n", end.label));
    head + &lines.collect::<String>()
}

/// In the order in which they are counted.
const VERDICTS: [Verdict; 5] = [
    Verdict::Passed,
    Verdict::Failed,
    Verdict::Error,
    Verdict::Interrupted,
    Verdict::SessionClosed,
];

/// Tests that do not evaluate or build, or whose script is wrong.
const NOT_RUN: &str = "not run";

fn word_of(end: &TestEnd) -> &'static str {
    match &end.result {
        Ok(verdict) => word(*verdict),
        Err(_) => NOT_RUN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::RunnerError;

    #[test]
    fn all_tests_are_counted() {
        let end = |label: &str, result| TestEnd {
            label: label.to_owned(),
            result,
        };
        let no = RunnerError::NoTestFits { count: 0 };
        let ends = vec![
            end("a", Ok(Verdict::Passed)),
            end("b", Err(no)),
            end("c", Ok(Verdict::Failed)),
        ];
        assert_eq!(
            summary(&RunSummary { ends, count: 4 }),
            "4 tests: 1 passed, 1 failed, 1 not run, 1 left out\n  not run: b\n  failed: c\n"
        );
        let ends = vec![end("a", Ok(Verdict::Passed))];
        assert_eq!(summary(&RunSummary { ends, count: 1 }), "");
    }
}
