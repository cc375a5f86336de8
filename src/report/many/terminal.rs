//! Several tests on a terminal: a line for each that runs, and one that counts.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};

use super::summary::counts;
use super::texts::Texts;
use crate::model::event::{Event, Record};
use crate::model::outcome::TestResult;
use crate::report::lines::short_name;
use crate::report::output_stream::OutputStream;
use crate::report::terminal::template;
use crate::report::{Colours, Detail, Report, sanitise};

const TICK: Duration = Duration::from_millis(120);

/// Draws on standard error, below the lines that stay.
#[derive(Debug)]
pub struct ManyTerminal {
    texts: Texts,
    stdout: OutputStream,
    bars: MultiProgress,
    counter: Option<ProgressBar>,
    running: BTreeMap<String, RunningTest>,
    ended: Vec<TestResult>,
    tests: usize,
}

/// The line of a test.
#[derive(Debug)]
struct RunningTest {
    bar: ProgressBar,
    /// The machines that run.
    machines: Vec<String>,
    /// What the script waits for, by the numbers of its steps.
    steps: BTreeMap<u64, String>,
}

impl RunningTest {
    fn show(&self) {
        let doing = match self.steps.values().next_back() {
            Some(step) => step.clone(),
            None if self.machines.is_empty() => "building".to_owned(),
            None => self.machines.join(", "),
        };
        self.bar.set_message(sanitise(&doing, Colours::Off));
    }
}

impl ManyTerminal {
    #[must_use]
    pub fn new(detail: Detail) -> Self {
        Self::on(ProgressDrawTarget::stderr(), detail)
    }

    fn on(target: ProgressDrawTarget, detail: Detail) -> Self {
        Self {
            texts: Texts::new(detail),
            stdout: OutputStream::shared(),
            bars: MultiProgress::with_draw_target(target),
            counter: None,
            running: BTreeMap::new(),
            ended: Vec::new(),
            tests: 0,
        }
    }

    fn running(&mut self, label: &str) -> &mut RunningTest {
        let bars = &self.bars;
        self.running.entry(label.to_owned()).or_insert_with(|| {
            let bar = bars.insert_from_back(1, ProgressBar::new_spinner());
            bar.set_style(template("{spinner} {prefix:.cyan} {wide_msg} {elapsed}"));
            bar.set_prefix(sanitise(&format!("{label}:"), Colours::Off));
            bar.enable_steady_tick(TICK);
            RunningTest {
                bar,
                machines: Vec::new(),
                steps: BTreeMap::new(),
            }
        })
    }

    fn count(&mut self) {
        let left = self.tests.saturating_sub(self.ended.len());
        let running = self.running.len();
        let done = counts(&self.ended);
        let separator = if done.is_empty() { "" } else { ", " };
        let text = format!(
            "{done}{separator}{running} running, {} left",
            left.saturating_sub(running)
        );
        let bars = &self.bars;
        let counter = self.counter.get_or_insert_with(|| {
            let bar = bars.add(ProgressBar::new(0));
            bar.set_style(template("{bar:20} {pos}/{len} {msg} {elapsed}"));
            bar.enable_steady_tick(TICK);
            bar
        });
        counter.set_length(self.tests as u64);
        counter.set_position(self.ended.len() as u64);
        counter.set_message(text);
    }

    fn draw(&mut self, record: &Record) {
        match (&record.label, &record.event) {
            (None, Event::TestsFound { tests }) => {
                self.tests = *tests;
                self.count();
            }
            (None, Event::RunFinished { .. }) => {
                if let Some(counter) = self.counter.take() {
                    counter.finish_and_clear();
                    self.bars.remove(&counter);
                }
            }
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
                let test = self.running(label);
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
                let step = match machine {
                    Some(machine) => format!("{machine}: {text}"),
                    None => text.clone(),
                };
                self.running(label).steps.insert(*id, step);
                true
            }
            Event::StepFinished { id, .. } => {
                self.running(label).steps.remove(id);
                true
            }
            _ => false,
        };
        if changed {
            self.running(label).show();
        }
        if changed && is_new {
            self.count();
        }
    }
}

impl Report for ManyTerminal {
    fn take(&mut self, record: &Record) {
        self.draw(record);
        let texts = self.texts.of(record);
        if texts.is_empty() {
            return;
        }
        let (bars, stdout) = (&self.bars, &mut self.stdout);
        bars.suspend(|| {
            for line in texts {
                let line = sanitise(&line, Colours::of_stdout()) + "\n";
                stdout.print(line.as_bytes());
            }
        });
    }

    fn finish(&mut self) -> io::Result<()> {
        self.stdout.finish()
    }
}
