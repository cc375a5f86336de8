//! A run of a test for the editor: its progress, its verdict, and failures at their lines.

use std::collections::BTreeMap;
use std::process::Stdio;

use async_lsp::ClientSocket;
use lsp_types::notification::{Progress, ShowMessage};
use lsp_types::request::WorkDoneProgressCreate;
use lsp_types::{
    Diagnostic, DiagnosticSeverity, MessageType, NumberOrString, Position, ProgressParams,
    ProgressParamsValue, Range, ShowMessageParams, Url, WorkDoneProgress, WorkDoneProgressBegin,
    WorkDoneProgressCreateParams, WorkDoneProgressEnd, WorkDoneProgressReport,
};
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use super::diagnostics::SOURCE;
use super::lenses::LensArguments;
use crate::child::die_with_parent;
use crate::model::event::{self, Event, Excerpt, Failure, Record, Verdict};
use crate::report::{Colours, sanitise};

/// The longest line of a message, in characters.
const MOST_SHOWN: usize = 200;

/// How much of the standard error of a run is read.
const MOST_BYTES: u64 = 64 << 10;

/// The end of a run: its failures by file.
#[derive(Debug)]
pub(super) struct RunEnded {
    pub failures: BTreeMap<Url, Vec<Diagnostic>>,
}

/// Whether the editor can show the progress of runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum ProgressDisplay {
    Shown,
    #[default]
    Unknown,
}

/// Runs tests, and shows their progress and verdict in the editor.
pub(super) async fn run(
    program: std::path::PathBuf,
    arguments: LensArguments,
    client: ClientSocket,
    token: NumberOrString,
    display: ProgressDisplay,
) {
    let progress = ShownProgress::begin(&client, token, display).await;
    let ended = watch(program, arguments, &client, progress.as_ref()).await;
    let (kind, text) = match ended {
        Ok(text) => text,
        Err(error) => (MessageType::ERROR, format!("cannot run the test: {error}")),
    };
    if let Some(progress) = progress {
        progress.send(WorkDoneProgress::End(WorkDoneProgressEnd {
            message: Some(text.clone()),
        }));
    }
    let message = ShowMessageParams {
        typ: kind,
        message: text,
    };
    let _ = client.notify::<ShowMessage>(message);
}

async fn watch(
    program: std::path::PathBuf,
    arguments: LensArguments,
    client: &ClientSocket,
    progress: Option<&ShownProgress>,
) -> std::io::Result<(MessageType, String)> {
    let mut command = std::process::Command::new(program);
    command
        .args(&arguments.arguments)
        .args(["--format", "json"])
        .current_dir(&arguments.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Its machines end with it.
    die_with_parent(&mut command, Signal::SIGINT);
    let mut child = Command::from(command).spawn()?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(std::io::Error::other("it has no output"));
    };
    let errors = async {
        let mut text = Vec::new();
        let _ = stderr.take(MOST_BYTES).read_to_end(&mut text).await;
        String::from_utf8_lossy(&text).into_owned()
    };
    let events = async {
        let mut lines = BufReader::new(stdout).lines();
        let mut summary = RunSummary::default();
        while let Ok(Some(line)) = lines.next_line().await {
            let Ok(record) = serde_json::from_str::<Record>(&line) else {
                continue;
            };
            if let Some(text) = summary.add(record.event)
                && let Some(progress) = progress
            {
                progress.report(text);
            }
        }
        summary
    };
    let (summary, errors) = tokio::join!(events, errors);
    let status = child.wait().await?;
    let end = summary.end(status.success(), &errors);
    let _ = client.emit(RunEnded {
        failures: summary.failures,
    });
    Ok(end)
}

/// The parts of the events of a run that an editor shows.
#[derive(Debug, Default)]
struct RunSummary {
    verdicts: Vec<String>,
    failures: BTreeMap<Url, Vec<Diagnostic>>,
}

impl RunSummary {
    /// Takes note of an event; returns a text on the progress if there is one.
    fn add(&mut self, event: Event) -> Option<String> {
        match event {
            Event::BuildStarted { derivation } => Some(format!("building {derivation}")),
            Event::TestStarted { nodes, .. } => Some(format!("starting {}", nodes.join(", "))),
            Event::SubtestStarted { name } => Some(shown(&name)),
            Event::StepStarted { machine, text, .. } => {
                Some(shown(&event::about(machine.as_deref(), &text)))
            }
            Event::TestFinished {
                test,
                verdict,
                duration_s,
                failures,
                ..
            } => {
                let word = match verdict {
                    Verdict::Passed => "passed",
                    Verdict::Failed => "failed",
                    Verdict::Error => "error",
                    Verdict::Interrupted => "interrupted",
                    Verdict::SessionClosed => "session closed",
                };
                let verdict = format!("{test}: {word} in {duration_s:.1} s");
                let reasons = failures.iter().map(|it| shown(&it.message));
                let parts: Vec<String> = std::iter::once(verdict).chain(reasons).collect();
                self.verdicts.push(parts.join("; "));
                for failure in &failures {
                    self.add_failure(failure);
                }
                None
            }
            _ => None,
        }
    }

    fn add_failure(&mut self, failure: &Failure) {
        let Some(excerpt) = &failure.statement else {
            return;
        };
        let Some(url) = excerpt
            .file
            .as_ref()
            .and_then(|file| Url::from_file_path(file).ok())
        else {
            return;
        };
        self.failures.entry(url).or_default().push(Diagnostic {
            range: range_of(excerpt),
            severity: Some(DiagnosticSeverity::ERROR),
            code: Some(NumberOrString::String("test-failed".to_owned())),
            source: Some(SOURCE.to_owned()),
            message: plain(&format!("{}: {}", failure.kind, failure.message)),
            ..Diagnostic::default()
        });
    }

    fn end(&self, is_good: bool, errors: &str) -> (MessageType, String) {
        let kind = if is_good {
            MessageType::INFO
        } else {
            MessageType::ERROR
        };
        let text = match &self.verdicts[..] {
            [] if is_good => "the run has ended".to_owned(),
            [] => plain(errors.trim()),
            verdicts => verdicts.join("\n"),
        };
        (kind, text)
    }
}

/// The first line of a text, as a message or progress shows it.
fn shown(text: &str) -> String {
    let line = plain(text.lines().next().unwrap_or_default());
    line.chars().take(MOST_SHOWN).collect()
}

/// A text of a script or a guest without what is no text for an editor.
fn plain(text: &str) -> String {
    sanitise(text, Colours::Off)
}

/// The range of the protocol: its columns count UTF-16 units from 0, those of an excerpt characters from 1.
fn range_of(excerpt: &Excerpt) -> Range {
    let position = |position: event::Position| {
        let line = position.line.checked_sub(excerpt.first_line);
        let text = line.and_then(|line| excerpt.lines.get(line));
        let before = text.map_or("", String::as_str).chars();
        let units = before.take(position.column.saturating_sub(1));
        let units: usize = units.map(char::len_utf16).sum();
        Position {
            line: u32::try_from(position.line.saturating_sub(1)).unwrap_or(u32::MAX),
            character: u32::try_from(units).unwrap_or(u32::MAX),
        }
    };
    Range {
        start: position(excerpt.start),
        end: position(excerpt.end),
    }
}

/// Progress that the editor shows.
struct ShownProgress {
    client: ClientSocket,
    token: NumberOrString,
}

impl ShownProgress {
    async fn begin(
        client: &ClientSocket,
        token: NumberOrString,
        display: ProgressDisplay,
    ) -> Option<Self> {
        if display == ProgressDisplay::Unknown {
            return None;
        }
        let create = WorkDoneProgressCreateParams {
            token: token.clone(),
        };
        client
            .request::<WorkDoneProgressCreate>(create)
            .await
            .ok()?;
        let progress = Self {
            client: client.clone(),
            token,
        };
        progress.send(WorkDoneProgress::Begin(WorkDoneProgressBegin {
            title: "snowglobe".to_owned(),
            ..WorkDoneProgressBegin::default()
        }));
        Some(progress)
    }

    fn report(&self, message: String) {
        self.send(WorkDoneProgress::Report(WorkDoneProgressReport {
            message: Some(message),
            ..WorkDoneProgressReport::default()
        }));
    }

    fn send(&self, value: WorkDoneProgress) {
        let _ = self.client.notify::<Progress>(ProgressParams {
            token: self.token.clone(),
            value: ProgressParamsValue::WorkDone(value),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_editor_gets_no_escape_sequences() {
        let mut summary = RunSummary::default();
        let step = |text: String| Event::StepStarted {
            id: 1,
            machine: Some("a".to_owned()),
            text,
        };
        let shown = summary.add(step("\x1b]0;title\x07\x1b[31mred\nsecond".to_owned()));
        assert_eq!(shown.as_deref(), Some("a: red"));
        let long = summary.add(step("x".repeat(5000))).unwrap();
        assert_eq!(long.chars().count(), MOST_SHOWN);
        let (_, text) = summary.end(false, "\x1b[1merror\x1b[0m: it does not evaluate\n");
        assert_eq!(text, "error: it does not evaluate");
    }
}
