//! The course of a test: boots, calls and subtests as spans of time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::calls::{CallList, CallSpan, described};
use super::console_text::ConsoleText;
use super::fault_spans::FaultSpans;
use super::subtest_cases::SubtestCases;
use crate::model::conversation::Conversation;
use crate::model::event::{Event, Failure, Record, SourceLine, Verdict, about};

/// A span of time.
#[derive(Debug, Clone)]
pub(in crate::report) struct Span {
    pub name: String,
    pub begin_s: f64,
    pub end_s: f64,
    pub failed: bool,
}

/// How the time before a machine's first answer has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::report) enum BootOutcome {
    Answered,
    /// The machine was stopped before the script had waited for it.
    NotAsked,
    Died,
}

impl BootOutcome {
    /// The end of a machine that has not answered; `wanted` if Snowglobe has stopped it.
    fn without_answer(wanted: bool) -> Self {
        if wanted { Self::NotAsked } else { Self::Died }
    }
}

/// The time before a machine's first answer.
#[derive(Debug)]
pub(in crate::report) struct BootSpan {
    pub span: Span,
    pub end: BootOutcome,
}

/// A picture of a display.
#[derive(Debug, Clone)]
pub(in crate::report) struct Screen {
    pub machine: String,
    pub time_s: f64,
    pub path: PathBuf,
}

/// One attempt at a test, in order of time.
#[derive(Debug, Default)]
pub(in crate::report) struct Timeline {
    /// Seconds after the start of the test.
    pub begin_s: f64,
    pub end_s: f64,
    /// From the start of a machine to its first answer.
    pub boots: BTreeMap<String, Vec<BootSpan>>,
    pub calls: CallList,
    pub subtests: Vec<Span>,
    pub cases: SubtestCases,
    /// How long the script took, in seconds.
    pub duration_s: f64,
    /// The text that the script has printed and noted.
    pub output: ConsoleText,
    pub consoles: BTreeMap<String, ConsoleText>,
    pub screens: Vec<Screen>,
    /// Saved files, relative to the output folder.
    pub files: Vec<PathBuf>,
    pub script: Vec<SourceLine>,
    pub failures: Vec<Failure>,
    /// None if the events end before the test.
    pub verdict: Option<Verdict>,
    pub faults: FaultSpans,
    pub conversations: Vec<Conversation>,
    /// Texts of the steps that the script waits for, by their numbers.
    unfinished: BTreeMap<u64, String>,
    /// Machines that have been started and do not answer yet.
    booting: BTreeMap<String, f64>,
}

impl Timeline {
    /// Takes the next event.
    #[allow(clippy::too_many_lines, reason = "one arm for each kind of event")]
    pub fn take(&mut self, record: Record) {
        let time_s = record.time_s;
        self.end_s = self.end_s.max(time_s);
        if let Some(line) = self.faults.take(&record.event, time_s) {
            self.output.add(time_s, line);
        }
        match record.event {
            Event::TestStarted { .. } => self.begin_s = time_s,
            Event::MachineStarted { machine, .. } => {
                self.booting.insert(machine, time_s);
            }
            Event::MachineReady { machine, .. } => {
                self.booted(machine, BootOutcome::Answered, time_s);
            }
            Event::MachineStopped {
                machine, wanted, ..
            } => self.booted(machine, BootOutcome::without_answer(wanted), time_s),
            Event::Console { machine, line } => {
                self.consoles.entry(machine).or_default().add(time_s, line);
            }
            Event::CallEnded {
                machine,
                method,
                arguments,
                line,
                duration_s,
                result,
                failed,
            } => {
                self.calls.add(CallSpan {
                    number: 0,
                    machine,
                    method,
                    arguments: described(&arguments),
                    line,
                    begin_s: time_s - duration_s,
                    duration_s,
                    result,
                    failed,
                });
            }
            Event::SubtestFinished {
                name,
                duration_s,
                failure,
            } => self.subtest_ended(name, duration_s, failure.map(|it| *it), time_s),
            Event::StepStarted { id, machine, text } => {
                self.unfinished.insert(id, about(machine.as_deref(), &text));
            }
            Event::StepFinished { id, .. } => {
                self.unfinished.remove(&id);
            }
            Event::Output { text } => {
                for line in text.lines() {
                    self.output.add(time_s, line.to_owned());
                }
            }
            Event::Note { machine, text, .. } => {
                self.output.add(time_s, about(machine.as_deref(), &text));
            }
            Event::ScreenTaken { machine, path } => self.screens.push(Screen {
                machine,
                time_s,
                path,
            }),
            Event::FileSaved { path } => self.files.push(path),
            Event::CaptureSaved {
                path,
                conversations,
                ..
            } => {
                self.files.push(path);
                self.conversations = conversations;
            }
            Event::ScriptSource { lines } => self.script = lines,
            Event::TestFinished {
                verdict,
                duration_s,
                failures,
                output,
                ..
            } => {
                self.duration_s = duration_s;
                self.finished(verdict, failures, &output);
            }
            Event::BuildStarted { .. }
            | Event::BuildLog { .. }
            | Event::BuildFinished { .. }
            | Event::BuildProgress { .. }
            | Event::Begun { .. }
            | Event::SubtestStarted { .. }
            | Event::SubtestSkipped { .. }
            | Event::ConsolesShown { .. }
            | Event::Prompting
            | Event::CallFailed { .. }
            | Event::TerminalAttached { .. }
            | Event::Called { .. }
            | Event::CheckpointTaken { .. }
            | Event::Rewound { .. }
            | Event::FaultStarted { .. }
            | Event::FaultFinished { .. }
            | Event::Seeded { .. }
            | Event::OutputLost { .. }
            | Event::Verified { .. }
            | Event::Watching { .. }
            | Event::Changed
            | Event::RunStarted { .. }
            | Event::TestsFound { .. }
            | Event::Retrying { .. }
            | Event::Slow { .. }
            | Event::TestEnded { .. }
            | Event::ReportWritten { .. }
            | Event::RunFinished { .. } => {}
        }
    }

    fn subtest_ended(
        &mut self,
        name: String,
        duration_s: f64,
        failure: Option<Failure>,
        end_s: f64,
    ) {
        self.subtests.push(Span {
            name: name.clone(),
            begin_s: end_s - duration_s,
            end_s,
            failed: failure.is_some(),
        });
        self.cases.add(end_s, name, duration_s, failure);
    }

    fn finished(&mut self, verdict: Verdict, failures: Vec<Failure>, output: &Path) {
        self.verdict = Some(verdict);
        let files = failures.iter().flat_map(|failure| &failure.files);
        let known = |file: &&PathBuf| !self.files.contains(file);
        let further: Vec<PathBuf> = files.filter(known).cloned().collect();
        self.files.extend(further);
        self.failures = failures;
        // The folder may have come here from another machine.
        for file in &mut self.files {
            if let Ok(inner) = file.strip_prefix(output) {
                *file = inner.to_owned();
            }
        }
    }

    /// A machine answers, or has ended before it did.
    fn booted(&mut self, machine: String, end: BootOutcome, end_s: f64) {
        if let Some(begin_s) = self.booting.remove(&machine) {
            let name = match end {
                BootOutcome::Answered => "boot, until its first answer",
                BootOutcome::NotAsked => "up; the script asked nothing of it",
                BootOutcome::Died => "boot, until it died",
            };
            let span = Span {
                name: name.to_owned(),
                begin_s,
                end_s,
                failed: end == BootOutcome::Died,
            };
            self.boots
                .entry(machine)
                .or_default()
                .push(BootSpan { span, end });
        }
    }

    /// Returns the steps that the script waited for when it was ended.
    pub fn ended_at(&self) -> impl Iterator<Item = &str> {
        let is_cut = matches!(self.verdict, None | Some(Verdict::Interrupted));
        let steps = self.unfinished.values().map(String::as_str);
        steps.filter(move |_| is_cut)
    }

    /// The subtests, each with how many of the others it is in.
    pub fn nested_subtests(&self) -> Vec<(&Span, usize)> {
        let mut spans: Vec<&Span> = self.subtests.iter().collect();
        spans.sort_by(|left, right| {
            let by_begin = left.begin_s.total_cmp(&right.begin_s);
            by_begin.then(right.end_s.total_cmp(&left.end_s))
        });
        let mut open: Vec<f64> = Vec::new();
        let mut nested = Vec::new();
        for span in spans {
            open.retain(|end_s| *end_s > span.begin_s);
            nested.push((span, open.len()));
            open.push(span.end_s);
        }
        nested
    }

    /// All machines that something is known of.
    pub fn machines(&self) -> Vec<String> {
        let of_calls = self.calls.iter().map(|call| &call.machine);
        let mut names: Vec<String> = of_calls
            .chain(self.boots.keys())
            .chain(self.consoles.keys())
            .chain(self.faults.machines())
            .cloned()
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(time_s: f64, event: Event) -> Record {
        Record {
            time_s,
            label: None,
            event,
        }
    }

    #[test]
    fn spans_are_from_the_start_of_what_ends() {
        let mut timeline = Timeline::default();
        let machine = || "server".to_owned();
        for record in [
            at(
                1.0,
                Event::MachineStarted {
                    machine: machine(),
                    pid: 1,
                },
            ),
            at(
                4.0,
                Event::MachineReady {
                    machine: machine(),
                    after_s: 3.0,
                },
            ),
            at(
                6.0,
                Event::CallEnded {
                    machine: machine(),
                    method: "succeed".to_owned(),
                    arguments: json!({"commands": ["true"], "setting": {"env": {}, "cwd": null}, "timeout": 3}),
                    line: Some(2),
                    duration_s: 1.5,
                    result: String::new(),
                    failed: false,
                },
            ),
        ] {
            timeline.take(record);
        }
        let boot = &timeline.boots["server"][0].span;
        assert!((boot.begin_s, boot.end_s, boot.failed) == (1.0, 4.0, false));
        let call = timeline.calls.iter().next().unwrap();
        assert_eq!(call.arguments, "true, timeout=3");
        assert!((call.begin_s - 4.5).abs() < 1e-9);
        assert_eq!(timeline.machines(), ["server"]);
    }

    #[test]
    fn subtests_may_be_in_others() {
        let span = |name: &str, begin_s, end_s| Span {
            name: name.to_owned(),
            begin_s,
            end_s,
            failed: false,
        };
        let timeline = Timeline {
            subtests: vec![
                span("inner", 1.0, 2.0),
                span("outer", 0.5, 3.0),
                span("next", 3.0, 4.0),
            ],
            ..Timeline::default()
        };
        let nested = timeline.nested_subtests();
        let depths: Vec<(&str, usize)> = nested
            .iter()
            .map(|(span, depth)| (span.name.as_str(), *depth))
            .collect();
        assert_eq!(depths, [("outer", 0), ("inner", 1), ("next", 0)]);
    }
}
