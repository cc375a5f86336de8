//! The lines for the events of a run: of one test, or of several, each of which names its test.

use std::collections::BTreeMap;

use console::{Style, style};

use super::failures::explain;
use super::lines::{lines, short_name};
use super::summary::summary;
use super::{Detail, View};
use crate::model::event::{Event, Level, Record, Verdict};
use crate::model::outcome::{Outcome, TestResult};

/// How deep the report of a failure is indented below its verdict.
const INDENT: &str = "  ";

/// Turns events into lines. Failures wait for the verdict of their test.
#[derive(Debug)]
pub(super) struct Texts {
    view: View,
    jobs: usize,
    /// The failed attempts of each running test.
    failures: BTreeMap<String, Vec<FailedAttempt>>,
}

/// The lines of a failed attempt.
#[derive(Debug)]
struct FailedAttempt {
    outcome: Outcome,
    texts: Vec<String>,
}

impl Texts {
    pub fn new(detail: Detail) -> Self {
        Self {
            view: View::new(detail),
            jobs: 1,
            failures: BTreeMap::new(),
        }
    }

    /// Whether the display shows all that there is.
    pub fn shows_everything(&self) -> bool {
        self.view.shows_everything()
    }

    /// Returns the lines for an event; many events have none.
    pub fn of(&mut self, record: &Record) -> Vec<String> {
        let Some(label) = &record.label else {
            self.view.follow(&record.event);
            return self.of_run(&record.event);
        };
        let mut texts = Vec::new();
        if self.view.shows_everything() {
            let name = style(format!("{label}>")).dim();
            let all = match &record.event {
                Event::BuildStarted { derivation } => {
                    vec![format!("building {}", short_name(derivation))]
                }
                // With the test's name below.
                Event::Retrying { .. } | Event::Slow { .. } => Vec::new(),
                event => lines(event, &self.view),
            };
            texts.extend(all.iter().map(|line| format!("{name} {line}")));
        }
        texts.extend(self.of_test(label, &record.event));
        texts
    }

    fn of_run(&mut self, event: &Event) -> Vec<String> {
        match event {
            Event::RunStarted { jobs } => {
                self.jobs = *jobs;
                Vec::new()
            }
            Event::TestsFound { tests: 0, .. } => {
                vec!["no test is in this part".to_owned()]
            }
            Event::TestsFound { tests, .. } => {
                let jobs = self.jobs.min(*tests);
                vec![format!("running {tests} tests, at most {jobs} at a time")]
            }
            Event::RunFinished { results, .. } => summary(results),
            event => lines(event, &self.view),
        }
    }

    fn of_test(&mut self, label: &str, event: &Event) -> Vec<String> {
        match event {
            Event::TestFinished {
                verdict: verdict @ (Verdict::Failed | Verdict::Error),
                failures,
                output,
                ..
            } => {
                let mut texts: Vec<String> = failures.iter().flat_map(explain).collect();
                texts.push(format!("output in {}", output.display()));
                let outcome = Outcome::of_verdict(*verdict);
                let failed = self.failures.entry(label.to_owned()).or_default();
                failed.push(FailedAttempt { outcome, texts });
                Vec::new()
            }
            Event::Verified {
                from_checkpoint,
                cold,
            } => {
                self.forget_verified(label, *from_checkpoint, *cold);
                Vec::new()
            }
            Event::TestEnded { result } => self.ended(result),
            Event::Retrying { attempt, attempts } => vec![format!(
                "{} {label} (attempt {attempt} of {attempts})",
                style("again:").yellow().bold()
            )],
            Event::Slow { after_s } => vec![format!(
                "{} {label} (runs for {after_s:.0} s)",
                style("slow:").yellow().bold()
            )],
            Event::OutputLost { .. }
            | Event::Note {
                level: Level::Warning | Level::Error,
                ..
            } if !self.view.shows_everything() => {
                let texts = lines(event, &self.view);
                texts
                    .iter()
                    .map(|line| format!("{label}: {line}"))
                    .collect()
            }
            Event::BuildStarted { .. }
            | Event::BuildLog { .. }
            | Event::BuildFinished { .. }
            | Event::BuildProgress { .. }
            | Event::Begun { .. }
            | Event::TestStarted { .. }
            | Event::MachineStarted { .. }
            | Event::MachineReady { .. }
            | Event::MachineStopped { .. }
            | Event::Console { .. }
            | Event::StepStarted { .. }
            | Event::StepFinished { .. }
            | Event::Output { .. }
            | Event::Note { .. }
            | Event::SubtestStarted { .. }
            | Event::SubtestFinished { .. }
            | Event::SubtestSkipped { .. }
            | Event::ConsolesShown { .. }
            | Event::Prompting
            | Event::CallFailed { .. }
            | Event::TerminalAttached { .. }
            | Event::Called { .. }
            | Event::CallEnded { .. }
            | Event::ScriptSource { .. }
            | Event::ScreenTaken { .. }
            | Event::CheckpointTaken { .. }
            | Event::Rewound { .. }
            | Event::FaultStarted { .. }
            | Event::FaultFinished { .. }
            | Event::Seeded { .. }
            | Event::CaptureSaved { .. }
            | Event::FileSaved { .. }
            | Event::OutputLost { .. }
            | Event::Watching { .. }
            | Event::Changed
            | Event::RunStarted { .. }
            | Event::TestsFound { .. }
            | Event::ReportWritten { .. }
            | Event::RunFinished { .. }
            | Event::TestFinished { .. } => Vec::new(),
        }
    }

    /// A cold run has taken the place of the one from a checkpoint before it.
    fn forget_verified(&mut self, label: &str, from_checkpoint: Verdict, cold: Verdict) {
        let is_failure = |verdict| matches!(verdict, Verdict::Failed | Verdict::Error);
        let failed = self.failures.entry(label.to_owned()).or_default();
        let later = usize::from(is_failure(cold));
        if is_failure(from_checkpoint) && failed.len() > later {
            failed.remove(failed.len() - 1 - later);
        }
    }

    fn ended(&mut self, result: &TestResult) -> Vec<String> {
        let failed = self.failures.remove(&result.label).unwrap_or_default();
        let is_repeated = result.attempts.len() > 1;
        if let Some(quarantine) = result.quarantine.as_ref().filter(|_| result.is_excused()) {
            let head = style("in quarantine:").yellow().bold();
            return vec![format!(
                "{head} {} ({} after {:.1} s: {})",
                result.label,
                result.outcome.name(),
                result.duration_s,
                quarantine.reason
            )];
        }
        let head = format!("{}:", result.outcome.name());
        let attempts = if is_repeated {
            format!(", {} attempts", result.attempts.len())
        } else {
            String::new()
        };
        let head = look(result).bold().apply_to(head);
        // It may be over.
        let quarantine = if result.quarantine.is_some() {
            ", in quarantine"
        } else {
            ""
        };
        let mut texts = match result.outcome {
            // Its error is shown on its own.
            Outcome::NotRun | Outcome::LeftOut => Vec::new(),
            _ => vec![format!(
                "{head} {} ({:.1} s{attempts}{quarantine})",
                result.label, result.duration_s
            )],
        };
        // Of repeated attempts the first failure is kept.
        let decides = |attempt: &&FailedAttempt| attempt.outcome == result.outcome;
        if let Some(attempt) = failed.iter().find(decides) {
            texts.extend(attempt.texts.iter().map(|line| indented(line)));
        }
        texts
    }
}

fn indented(line: &str) -> String {
    if line.is_empty() {
        String::new()
    } else {
        format!("{INDENT}{line}")
    }
}

fn look(result: &TestResult) -> Style {
    match result.outcome {
        Outcome::Passed => Style::new().green(),
        Outcome::Failed | Outcome::Error => Style::new().red(),
        _ => Style::new().yellow(),
    }
}
