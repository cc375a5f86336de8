//! Annotations of failures for GitHub's workflows: <https://docs.github.com/actions> shows them at their lines.

use std::path::Path;
use std::sync::LazyLock;

use super::recorded::RecordedTest;
use super::{Colours, sanitise};
use crate::model::event::Failure;
use crate::model::outcome::{Outcome, RunResults, TestResult};

/// The annotations of a run whose folder this is. Files in `workspace`, the folder of the repository, are named by their
/// path there.
#[must_use]
pub fn annotations(folder: &Path, results: &RunResults, workspace: Option<&Path>) -> String {
    let of_test = |test: &TestResult| {
        let failure = failure_of(folder, test)?;
        Some(annotation(kind(test)?, &test.label, &failure, workspace))
    };
    results.tests.iter().filter_map(of_test).collect()
}

/// The failure of the last attempt that has one, or why the test was not run.
fn failure_of(folder: &Path, test: &TestResult) -> Option<Failure> {
    let recorded = test.attempts.iter().rev().find_map(|attempt| {
        let mut end = RecordedTest::read(&folder.join(&attempt.folder)).end?;
        end.failures.pop()
    });
    let not_run = || {
        Some(Failure {
            kind: test.outcome.name().to_owned(),
            message: test.message.clone()?,
            ..Failure::default()
        })
    };
    recorded.or_else(not_run)
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
