//! Annotations of failures for GitHub's workflows: <https://docs.github.com/actions> shows them at their lines.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::output_stream::OutputStream;
use super::{Colours, Report, sanitise};
use crate::model::event::{Event, Failure, Record, Verdict};
use crate::model::outcome::{Outcome, TestResult};

/// A display that adds annotations to what another one shows.
pub struct Annotated {
    inner: Box<dyn Report>,
    stdout: OutputStream,
    /// The folder of the repository: files in it are named by their path there.
    workspace: Option<PathBuf>,
    /// The last failure of each test that has not ended.
    failures: BTreeMap<String, Failure>,
}

impl std::fmt::Debug for Annotated {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Annotated").finish_non_exhaustive()
    }
}

impl Annotated {
    #[must_use]
    pub fn new(inner: Box<dyn Report>) -> Self {
        Self {
            inner,
            stdout: OutputStream::shared(),
            workspace: std::env::var_os("GITHUB_WORKSPACE").map(PathBuf::from),
            failures: BTreeMap::new(),
        }
    }

    fn annotate(&mut self, record: &Record) {
        match (&record.label, &record.event) {
            (
                label,
                Event::TestFinished {
                    test,
                    verdict: Verdict::Failed | Verdict::Error,
                    failures,
                    ..
                },
            ) => {
                let Some(failure) = failures.last() else {
                    return;
                };
                match label {
                    Some(label) => {
                        self.failures.insert(label.clone(), failure.clone());
                    }
                    None => self.print("error", test, failure),
                }
            }
            (Some(label), Event::TestEnded { result }) => {
                if let (Some(failure), Some(kind)) = (self.failures.remove(label), kind(result)) {
                    self.print(kind, label, &failure);
                }
            }
            _ => {}
        }
    }

    fn print(&mut self, kind: &str, test: &str, failure: &Failure) {
        let line = annotation(kind, test, failure, self.workspace.as_deref());
        self.stdout.print(line.as_bytes());
    }
}

/// How loud the failure of a test is.
fn kind(result: &TestResult) -> Option<&'static str> {
    match result.outcome {
        Outcome::Failed | Outcome::Error if result.quarantine.is_none() => Some("error"),
        Outcome::Failed | Outcome::Error | Outcome::Flaky => Some("warning"),
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

impl Report for Annotated {
    fn take(&mut self, record: &Record) {
        self.inner.take(record);
        self.annotate(record);
    }

    fn finish(&mut self) -> io::Result<()> {
        self.inner.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{Excerpt, Position};

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
