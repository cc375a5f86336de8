//! What a test has done when: boots, calls and subtests as spans of time.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use crate::model::event::{Event, Failure, Record, SourceLine};

/// A call of the script.
#[derive(Debug, Clone)]
pub(super) struct CallSpan {
    pub machine: String,
    pub method: String,
    pub arguments: String,
    /// Of the script, from 1.
    pub line: Option<u32>,
    pub begin_s: f64,
    pub duration_s: f64,
    pub result: String,
    pub failed: bool,
}

/// Another span of time.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub name: String,
    pub begin_s: f64,
    pub end_s: f64,
    pub failed: bool,
}

/// Of longer consoles the first and the last lines are kept: a guest writes as many as it likes, as long as it likes.
const FIRST_LINES: usize = 400;
const LAST_LINES: usize = 1600;
const LONGEST_LINE: usize = 2000;

/// More calls are counted.
const MOST_CALLS: usize = 2000;

/// A line of a console.
#[derive(Debug, Clone)]
pub(super) struct ConsoleLine {
    pub time_s: f64,
    pub text: String,
}

/// What a machine has written.
#[derive(Debug, Default)]
pub(super) struct ConsoleText {
    pub first: Vec<ConsoleLine>,
    pub last: VecDeque<ConsoleLine>,
    pub count: usize,
}

impl ConsoleText {
    fn add(&mut self, time_s: f64, mut text: String) {
        text.truncate(text.floor_char_boundary(LONGEST_LINE));
        let line = ConsoleLine { time_s, text };
        self.count += 1;
        if self.first.len() < FIRST_LINES {
            self.first.push(line);
            return;
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// How many lines are between the first and the last ones.
    pub fn left_out(&self) -> usize {
        self.count - self.first.len() - self.last.len()
    }
}

/// A picture of a display.
#[derive(Debug, Clone)]
pub(super) struct Screen {
    pub machine: String,
    pub time_s: f64,
    pub path: PathBuf,
}

/// One attempt at a test, in order of time.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// Seconds after the start of the test.
    pub begin_s: f64,
    pub end_s: f64,
    /// From the start of a machine to its first answer.
    pub boots: BTreeMap<String, Vec<Span>>,
    /// The first ones.
    pub calls: Vec<CallSpan>,
    pub call_count: usize,
    pub subtests: Vec<Span>,
    pub consoles: BTreeMap<String, ConsoleText>,
    pub screens: Vec<Screen>,
    /// What was saved, relative to the output folder.
    pub files: Vec<PathBuf>,
    pub script: Vec<SourceLine>,
    pub failures: Vec<Failure>,
    /// Machines that have been started and do not answer yet.
    booting: BTreeMap<String, f64>,
}

impl Timeline {
    /// Takes the next event.
    pub fn take(&mut self, record: Record) {
        let time_s = record.time_s;
        self.end_s = self.end_s.max(time_s);
        match record.event {
            Event::TestStarted { .. } => self.begin_s = time_s,
            Event::MachineStarted { machine, .. } => {
                self.booting.insert(machine, time_s);
            }
            Event::MachineReady { machine, .. } => self.booted(machine, time_s, false),
            Event::MachineStopped { machine, .. } => self.booted(machine, time_s, true),
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
                self.call_count += 1;
                if self.calls.len() == MOST_CALLS {
                    return;
                }
                self.calls.push(CallSpan {
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
            } => self.subtests.push(Span {
                name,
                begin_s: time_s - duration_s,
                end_s: time_s,
                failed: failure.is_some(),
            }),
            Event::ScreenTaken { machine, path } => self.screens.push(Screen {
                machine,
                time_s,
                path,
            }),
            Event::FileSaved { path } => self.files.push(path),
            Event::ScriptSource { lines } => self.script = lines,
            Event::TestFinished {
                failures, output, ..
            } => {
                let files = failures.iter().flat_map(|failure| &failure.files);
                self.files.extend(files.cloned());
                self.failures = failures;
                // The folder may have come here from another machine.
                for file in &mut self.files {
                    if let Ok(inner) = file.strip_prefix(&output) {
                        *file = inner.to_owned();
                    }
                }
            }
            _ => {}
        }
    }

    /// A machine answers, or has ended before it did.
    fn booted(&mut self, machine: String, end_s: f64, failed: bool) {
        if let Some(begin_s) = self.booting.remove(&machine) {
            let span = Span {
                name: "boot".to_owned(),
                begin_s,
                end_s,
                failed,
            };
            self.boots.entry(machine).or_default().push(span);
        }
    }

    /// All machines that something is known of.
    pub fn machines(&self) -> Vec<String> {
        let of_calls = self.calls.iter().map(|call| &call.machine);
        let mut names: Vec<String> = of_calls
            .chain(self.boots.keys())
            .chain(self.consoles.keys())
            .cloned()
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

/// The arguments of a call as a reader wants them: what is empty left out.
fn described(arguments: &serde_json::Value) -> String {
    use serde_json::Value;
    let Value::Object(all) = arguments else {
        return String::new();
    };
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Object(inner) => inner.values().all(|value| match value {
            Value::Null => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        }),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    let given: Vec<(&String, &Value)> = all.iter().filter(|(_, value)| !is_empty(value)).collect();
    let texts: Vec<String> = given
        .iter()
        .map(|(name, value)| match value {
            // What a command is, is clear from the method.
            Value::Array(list) if *name == "commands" => {
                let commands = list.iter().map(|command| match command {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                });
                commands.collect::<Vec<_>>().join("; ")
            }
            Value::String(text) if *name == "command" => text.clone(),
            Value::String(text) => format!("{name}={text}"),
            other => format!("{name}={other}"),
        })
        .collect();
    texts.join(", ")
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
    fn a_guest_that_writes_without_end_is_cut() {
        let mut console = ConsoleText::default();
        for number in 0..10_000 {
            console.add(0.0, format!("{number} {}", "ä".repeat(2000)));
        }
        assert_eq!((console.count, console.left_out()), (10_000, 8000));
        let last = console.last.back().unwrap();
        assert!(last.text.starts_with("9999 ") && last.text.len() <= LONGEST_LINE);
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
        let boot = &timeline.boots["server"][0];
        assert!((boot.begin_s, boot.end_s, boot.failed) == (1.0, 4.0, false));
        let call = &timeline.calls[0];
        assert_eq!(call.arguments, "true, timeout=3");
        assert!((call.begin_s - 4.5).abs() < 1e-9);
        assert_eq!(timeline.machines(), ["server"]);
    }
}
