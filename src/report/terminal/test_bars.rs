//! Live progress of several tests: a line for each that runs, and one that counts.

use std::collections::BTreeMap;
use std::time::Duration;

use console::Term;
use indicatif::{MultiProgress, ProgressBar};

use super::{TICK, template};
use crate::model::event::{Event, Record, about};
use crate::model::outcome::TestResult;
use crate::report::lines::{age, one_line, short_name};
use crate::report::summary::counts;
use crate::report::{Colours, sanitise};

/// How often the line that counts is made anew, in seconds.
const COUNT_PAUSE_S: f64 = 1.0;

/// The line that counts, and the one that the cursor is in.
const LINES_BESIDE: usize = 2;

/// A bar for each running test, and one for all.
#[derive(Debug)]
pub(super) struct TestBars {
    bars: MultiProgress,
    counter: Option<ProgressBar>,
    running: BTreeMap<String, RunningTest>,
    ended: Vec<TestResult>,
    tests: usize,
    /// How many of them run at a time.
    jobs: usize,
    /// How long they take one after another, if that is known, and one of which nothing is known.
    expected_s: Option<f64>,
    typical_s: f64,
    /// When the last event came, in seconds after the start of the run.
    time_s: f64,
    /// When the line that counts was made.
    counted_s: f64,
    /// How many tests have a line: the one that counts must be seen, too.
    most_shown: usize,
}

/// The line of a test.
#[derive(Debug)]
struct RunningTest {
    bar: ProgressBar,
    /// The machines that run.
    machines: Vec<String>,
    /// Texts of the steps that the script waits for, by their numbers.
    steps: BTreeMap<u64, String>,
    /// When it was begun, in seconds after the start of the run.
    begun_s: Option<f64>,
}

impl RunningTest {
    fn show(&self) {
        let doing = match self.steps.values().next_back() {
            Some(step) => step.clone(),
            None if self.machines.is_empty() => "building".to_owned(),
            None => self.machines.join(", "),
        };
        self.bar.set_message(one_line(&doing));
    }
}

impl TestBars {
    pub fn new(bars: MultiProgress) -> Self {
        Self {
            bars,
            counter: None,
            running: BTreeMap::new(),
            ended: Vec::new(),
            tests: 0,
            jobs: 1,
            expected_s: None,
            typical_s: 0.0,
            time_s: 0.0,
            counted_s: 0.0,
            most_shown: usize::from(Term::stderr().size().0)
                .saturating_sub(LINES_BESIDE)
                .max(1),
        }
    }

    fn running(&mut self, label: &str) -> &mut RunningTest {
        let bars = &self.bars;
        let shown = self.running.values().filter(|test| !test.bar.is_hidden());
        let has_line = shown.count() < self.most_shown;
        self.running.entry(label.to_owned()).or_insert_with(|| {
            let bar = if has_line {
                bars.insert_from_back(1, ProgressBar::new_spinner())
            } else {
                ProgressBar::hidden()
            };
            bar.set_style(template("{spinner} {prefix:.cyan} {wide_msg} {elapsed}"));
            bar.set_prefix(sanitise(&format!("{label}:"), Colours::Off));
            bar.enable_steady_tick(TICK);
            RunningTest {
                bar,
                machines: Vec::new(),
                steps: BTreeMap::new(),
                begun_s: None,
            }
        })
    }

    fn count(&mut self) {
        self.counted_s = self.time_s;
        let left = self.tests.saturating_sub(self.ended.len());
        let running = self.running.len();
        let done = counts(&self.ended);
        let separator = if done.is_empty() { "" } else { ", " };
        let text = format!(
            "{done}{separator}{running} running, {} left",
            left.saturating_sub(running)
        );
        let text = match self.left_s() {
            Some(left_s) => format!("{text}, about {} to go", age(left_s)),
            None => text,
        };
        let bars = &self.bars;
        let counter = self.counter.get_or_insert_with(|| {
            let bar = bars.add(ProgressBar::new(0));
            bar.set_style(template("{bar:20} {pos}/{len} {wide_msg} {elapsed}"));
            bar.enable_steady_tick(TICK);
            bar
        });
        counter.set_length(self.tests as u64);
        counter.set_position(self.ended.len() as u64);
        counter.set_message(text);
    }

    /// How long the other tests take, by earlier runs and by how many run at a time in this one.
    fn left_s(&self) -> Option<u64> {
        let ended = self.ended.iter();
        let expected = ended.map(|test| test.expected_s.unwrap_or(self.typical_s));
        let begun = self.running.values().filter_map(|test| test.begun_s);
        let running_s: f64 = begun.map(|begun_s| self.time_s - begun_s).sum();
        let work_left_s = self.expected_s? - expected.sum::<f64>() - running_s;
        let work_done_s = running_s + self.ended.iter().map(|test| test.duration_s).sum::<f64>();
        #[allow(clippy::cast_precision_loss)]
        let pace = if self.ended.is_empty() {
            self.jobs.min(self.tests) as f64
        } else {
            work_done_s / self.time_s.max(1.0)
        };
        let left_s = Duration::try_from_secs_f64(work_left_s.max(0.0) / pace.max(1.0)).ok()?;
        (self.ended.len() < self.tests).then_some(left_s.as_secs())
    }

    /// Removes all bars.
    pub fn clear(&mut self) {
        let of_tests = std::mem::take(&mut self.running).into_values();
        let of_tests = of_tests.map(|test| test.bar);
        for bar in of_tests.chain(self.counter.take()) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }

    /// Draws an event of a run of several tests.
    pub fn draw(&mut self, record: &Record) {
        self.time_s = record.time_s;
        match (&record.label, &record.event) {
            (None, Event::RunStarted { jobs }) => self.jobs = *jobs,
            (
                None,
                Event::TestsFound {
                    tests,
                    expected_s,
                    typical_s,
                },
            ) => {
                self.tests = *tests;
                self.expected_s = *expected_s;
                self.typical_s = typical_s.unwrap_or_default();
                self.count();
            }
            (None, Event::RunFinished { .. }) => self.clear(),
            (Some(label), Event::TestEnded { result }) => {
                if let Some(test) = self.running.remove(label) {
                    test.bar.finish_and_clear();
                    self.bars.remove(&test.bar);
                }
                self.ended.push((**result).clone());
                self.count();
            }
            (Some(label), event) => self.draw_test(label, event),
            _ => {}
        }
    }

    fn draw_test(&mut self, label: &str, event: &Event) {
        let is_new = !self.running.contains_key(label);
        let changed = match event {
            Event::BuildStarted { derivation } => {
                let step = format!("building {}", short_name(derivation));
                self.running(label).steps.insert(0, step);
                true
            }
            Event::TestStarted { .. } => {
                let time_s = self.time_s;
                let test = self.running(label);
                test.begun_s.get_or_insert(time_s);
                test.steps.clear();
                test.machines.clear();
                test.bar.reset_elapsed();
                true
            }
            Event::MachineStarted { machine, .. } => {
                self.running(label).machines.push(machine.clone());
                true
            }
            Event::MachineStopped { machine, .. } => {
                self.running(label)
                    .machines
                    .retain(|other| other != machine);
                true
            }
            Event::StepStarted { id, machine, text } => {
                let step = about(machine.as_deref(), text);
                self.running(label).steps.insert(*id, step);
                true
            }
            Event::StepFinished { id, .. } => {
                self.running(label).steps.remove(id);
                true
            }
            Event::BuildLog { .. }
            | Event::BuildFinished { .. }
            | Event::BuildProgress { .. }
            | Event::Begun { .. }
            | Event::MachineReady { .. }
            | Event::Console { .. }
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
            | Event::Verified { .. }
            | Event::Watching { .. }
            | Event::Changed
            | Event::RunStarted { .. }
            | Event::TestsFound { .. }
            | Event::Retrying { .. }
            | Event::Slow { .. }
            | Event::TestEnded { .. }
            | Event::ReportWritten { .. }
            | Event::RunFinished { .. }
            | Event::TestFinished { .. } => false,
        };
        if changed {
            self.running(label).show();
        }
        if changed && (is_new || self.time_s >= self.counted_s + COUNT_PAUSE_S) {
            self.count();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use indicatif::InMemoryTerm;
    use serde_json::json;

    use super::*;

    /// How long a bar may take to be drawn: it is drawn some times a second.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn record(label: Option<&str>, event: &serde_json::Value) -> Record {
        let mut record = json!({"time_s": 10.0});
        let fields = record.as_object_mut().unwrap();
        fields.extend(event.as_object().unwrap().clone());
        if let Some(label) = label {
            fields.insert("label".to_owned(), json!(label));
        }
        serde_json::from_value(record).unwrap()
    }

    /// A terminal's lines without what moves: the spinner and the time.
    fn still(screen: &str) -> Vec<String> {
        let still = |line: &str| {
            let line: String = line.chars().skip_while(|c| !c.is_ascii()).collect();
            let is_time = |c: char| c.is_ascii_digit() || "smh :".contains(c);
            line.trim_end_matches(is_time).trim().to_owned()
        };
        screen.lines().map(still).collect()
    }

    #[test]
    fn each_running_test_has_a_line_and_all_are_counted() {
        let terminal = InMemoryTerm::new(10, 90);
        let target = indicatif::ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let mut display = TestBars::new(MultiProgress::with_draw_target(target));
        let started = json!({"event": "test_started", "test": "t", "nodes": ["m"], "accelerator": "x", "timeout_factor": 1.0});
        let ended = json!({"event": "test_ended", "result": TestResult {
            label: "mail".to_owned(),
            outcome: crate::model::outcome::Outcome::Passed,
            duration_s: 20.0,
            expected_s: Some(20.0),
            ..TestResult::default()
        }});
        let steps = [
            (
                None,
                json!({"event": "tests_found", "tests": 3, "expected_s": 140.0, "typical_s": 60.0}),
            ),
            (Some("mail"), started.clone()),
            (Some("web"), started),
            (
                Some("web"),
                json!({"event": "machine_started", "machine": "server", "pid": 1}),
            ),
            (
                Some("mail"),
                json!({"event": "step_started", "id": 7, "machine": "client", "text": "waiting"}),
            ),
            (Some("mail"), ended),
        ];
        for (label, event) in &steps {
            display.draw(&record(*label, event));
        }
        // 120 s are left, and 2 s of tests have been done in each second.
        let expected = [
            "web: server",
            "1/3 1 passed, 1 running, 1 left, about 1 min to go",
        ];
        let begin = Instant::now();
        loop {
            let screen = still(&terminal.contents());
            let seen = |line: &&str| screen.iter().any(|seen| seen.ends_with(line));
            if expected.iter().all(seen) && screen.len() == 2 {
                break;
            }
            assert!(begin.elapsed() < PATIENCE, "{screen:#?}");
            std::thread::yield_now();
        }
    }
}
