//! Annotations of failures for GitHub's workflows: <https://docs.github.com/actions> shows them at their lines.

use std::path::Path;
use std::sync::LazyLock;

use super::recorded::RecordedTest;
use super::{Colours, sanitise};
use crate::model::event::{Failure, Verdict};
use crate::model::outcome::{Attempt, Outcome, RunResults, TestResult};

/// GitHub shows no more of each kind.
const MOST_SHOWN: usize = 10;

/// The failures of the tests of a run, in their order.
#[derive(Debug)]
pub struct RunFailures(Vec<Vec<Failure>>);

impl RunFailures {
    pub(super) fn new(of_tests: Vec<Vec<Failure>>) -> Self {
        Self(of_tests)
    }

    /// Returns why tests were not run, of results whose output folders say nothing.
    #[must_use]
    pub fn of_messages(results: &RunResults) -> Self {
        let tests = results.tests.iter();
        Self(
            tests
                .map(|test| failures_of(test, &RecordedTest::default()))
                .collect(),
        )
    }
}

/// The annotations of a run, whose failures these are. Files in `workspace`, the folder of the repository, are named by their
/// path there. If there are more than GitHub shows, the last one says so.
#[must_use]
pub fn annotations(
    results: &RunResults,
    failures: &RunFailures,
    workspace: Option<&Path>,
) -> String {
    let mut all = String::new();
    for kind in ["error", "warning"] {
        let tests = results.tests.iter().zip(&failures.0);
        let mut lines: Vec<String> = tests
            .filter(|(test, _)| self::kind(test) == Some(kind))
            .flat_map(|(test, failures)| of_test(kind, test, failures, workspace))
            .collect();
        if kind == "error" {
            let missing = results.missing.iter();
            lines.extend(missing.map(|reason| format!("::{kind}::{}\n", text(reason))));
        }
        if lines.len() > MOST_SHOWN {
            let more = lines.len() - (MOST_SHOWN - 1);
            lines.truncate(MOST_SHOWN - 1);
            lines.push(format!("::{kind}::{more} more: the report shows all\n"));
        }
        all.extend(lines);
    }
    all
}

fn of_test(
    kind: &str,
    test: &TestResult,
    failures: &[Failure],
    workspace: Option<&Path>,
) -> Vec<String> {
    let title = match (&test.quarantine, test.outcome) {
        (Some(_), _) => format!("{} (in quarantine)", test.label),
        (None, Outcome::Flaky) => format!("{} (flaky)", test.label),
        _ => test.label.clone(),
    };
    let lines = failures.iter();
    lines
        .map(|failure| annotation(kind, &title, failure, workspace))
        .collect()
}

/// The failures of the last attempt that has any, or why the test was not run.
pub(super) fn failures_of(test: &TestResult, recorded: &RecordedTest) -> Vec<Failure> {
    let mut attempts: Vec<&Attempt> = Vec::new();
    for attempt in test.attempts.iter().rev() {
        // Later attempts may have replaced its output.
        let is_known = attempts.iter().any(|other| other.folder == attempt.folder);
        if attempt.verdict != Verdict::Passed && !is_known {
            attempts.push(attempt);
        }
    }
    let recorded = attempts.into_iter().find_map(|attempt| {
        let failures = recorded.attempt(attempt)?.timeline.failures.clone();
        (!failures.is_empty()).then_some(failures)
    });
    let not_run = || {
        let message = test.message.clone()?;
        Some(vec![Failure {
            kind: test.outcome.name().to_owned(),
            message,
            ..Failure::default()
        }])
    };
    recorded.or_else(not_run).unwrap_or_default()
}

/// How loud the failure of a test is.
fn kind(result: &TestResult) -> Option<&'static str> {
    match result.outcome {
        Outcome::Failed | Outcome::Error | Outcome::NotRun if result.quarantine.is_none() => {
            Some("error")
        }
        Outcome::Failed | Outcome::Error | Outcome::NotRun | Outcome::Flaky => Some("warning"),
        _ => None,
    }
}

fn annotation(kind: &str, test: &str, failure: &Failure, workspace: Option<&Path>) -> String {
    let statement = failure.statement.as_ref();
    let place = statement.and_then(|statement| Some((statement.file.as_ref()?, statement.start)));
    let mut properties = Vec::new();
    // A file of a build is not one of the repository.
    let place = place.filter(|(file, _)| !file.starts_with("/nix/store"));
    if let Some((file, start)) = place {
        let inner = workspace.and_then(|folder| file.strip_prefix(folder).ok());
        let file = inner.unwrap_or(file).display().to_string();
        properties.push(format!("file={}", property(&file)));
        properties.push(format!("line={},col={}", start.line, start.column));
    }
    properties.push(format!("title={}", property(test)));
    let message = format!("{}: {}", failure.kind, failure.message);
    format!("::{kind} {}::{}\n", properties.join(","), text(&message))
}

/// A text in the form that GitHub reads.
fn text(text: &str) -> String {
    sanitise(text, Colours::Off)
        .replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(value: &str) -> String {
    text(value).replace(':', "%3A").replace(',', "%2C")
}

/// Whether a workflow of GitHub reads what is printed.
#[must_use]
pub fn is_in_workflow() -> bool {
    static IS_IN_WORKFLOW: LazyLock<bool> =
        LazyLock::new(|| std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true"));
    *IS_IN_WORKFLOW
}

/// Text as a log shows it.
pub(super) fn for_log(text: &str) -> String {
    let text = sanitise(text, Colours::of_stdout());
    if !is_in_workflow() {
        return text;
    }
    let lines: Vec<String> = text.split('\n').map(without_commands).collect();
    lines.join("\n")
}

/// A line of a log that is no command of a workflow, whatever a guest has written: `::NAME …::` at the start of a line,
/// and `##[NAME …]` anywhere.
fn without_commands(line: &str) -> String {
    let line = line.replace("##[", "##\\[");
    let text = line.trim_start();
    if !text.starts_with("::") {
        return line;
    }
    let blank = &line[..line.len() - text.len()];
    format!("{blank}\\{text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{Excerpt, Position};

    #[test]
    fn a_line_of_a_guest_is_no_command() {
        for (line, shown) in [
            ("  ::add-mask::x", "  \\::add-mask::x"),
            ("a ::b", "a ::b"),
            ("x ##[add-mask]y", "x ##\\[add-mask]y"),
        ] {
            assert_eq!(without_commands(line), shown);
        }
    }

    #[test]
    fn what_github_does_not_show_is_counted() {
        let not_run = TestResult {
            outcome: Outcome::NotRun,
            message: Some("no".to_owned()),
            ..TestResult::default()
        };
        let results = |count: usize| RunResults {
            version: 1,
            started_unix_s: 0,
            duration_s: 0.0,
            interrupted: false,
            missing: Vec::new(),
            tests: vec![not_run.clone(); count],
        };
        let lines = |count| {
            let results = results(count);
            annotations(&results, &RunFailures::of_messages(&results), None)
        };
        assert_eq!(lines(10).lines().count(), 10);
        let many = lines(12);
        assert_eq!(many.lines().count(), 10, "{many}");
        assert!(
            many.ends_with("\n::error::3 more: the report shows all\n"),
            "{many}"
        );
    }

    #[test]
    fn a_failure_is_at_its_line_and_cannot_add_commands() {
        let failure = Failure {
            kind: "AssertionError".to_owned(),
            message: "100 %\n::error::no".to_owned(),
            statement: Some(Excerpt {
                file: Some("/w/tests/a,b.nix".into()),
                start: Position { line: 7, column: 3 },
                end: Position { line: 7, column: 9 },
                first_line: 6,
                lines: Vec::new(),
            }),
            ..Failure::default()
        };
        assert_eq!(
            annotation("error", "net: x", &failure, Some(Path::new("/w"))),
            "::error file=tests/a%2Cb.nix,line=7,col=3,title=net%3A x::AssertionError: 100 %25%0A::error::no\n"
        );
    }
}
