//! Live progress on a terminal: what is built, and what each machine is doing.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::lines::{lines, one_line, short_name};
use super::{Colours, Detail, Report, View, sanitise};
use crate::model::event::{Event, Record};
use crate::prompt_output::PromptOutput;

const TICK: Duration = Duration::from_millis(120);

/// Draws on standard error, below the lines that stay.
#[derive(Debug)]
pub struct TerminalDisplay {
    view: View,
    output: PromptOutput,
    /// Progress bars would disturb the prompt.
    prompting: bool,
    bars: MultiProgress,
    build: Option<ProgressBar>,
    building: Vec<String>,
    machines: BTreeMap<String, ProgressBar>,
    /// Which machine's bar shows a step.
    steps: BTreeMap<u64, String>,
}

impl TerminalDisplay {
    #[must_use]
    pub fn new(detail: Detail, output: PromptOutput) -> Self {
        Self::on(ProgressDrawTarget::stderr(), detail, output)
    }

    fn on(target: ProgressDrawTarget, detail: Detail, output: PromptOutput) -> Self {
        output.attach_display();
        Self {
            view: View::new(detail),
            output,
            prompting: false,
            bars: MultiProgress::with_draw_target(target),
            build: None,
            building: Vec::new(),
            machines: BTreeMap::new(),
            steps: BTreeMap::new(),
        }
    }

    fn build_bar(&mut self) -> &ProgressBar {
        let bars = &self.bars;
        self.build.get_or_insert_with(|| {
            let bar = bars.add(ProgressBar::new(0));
            bar.set_style(template("{spinner} building {pos}/{len} {wide_msg}"));
            bar.enable_steady_tick(TICK);
            bar
        })
    }

    fn show_building(&mut self) {
        let names = self.building.join(", ");
        self.build_bar().set_message(names);
    }

    fn machine_bar(&mut self, machine: &str) -> &ProgressBar {
        let bars = &self.bars;
        self.machines.entry(machine.to_owned()).or_insert_with(|| {
            let bar = bars.add(ProgressBar::new_spinner());
            bar.set_style(template("{spinner} {prefix:.cyan} {wide_msg} {elapsed}"));
            bar.set_prefix(sanitise(&format!("{machine}:"), Colours::Off));
            bar.enable_steady_tick(TICK);
            bar
        })
    }

    fn clear(&mut self) {
        for bar in self
            .build
            .take()
            .into_iter()
            .chain(std::mem::take(&mut self.machines).into_values())
        {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }

    fn draw(&mut self, event: &Event) {
        match event {
            Event::BuildStarted { derivation } => {
                self.building.push(short_name(derivation).to_owned());
                self.show_building();
            }
            Event::BuildFinished { derivation } => {
                let name = short_name(derivation);
                self.building.retain(|other| other != name);
                self.show_building();
            }
            Event::BuildProgress { done, expected } => {
                let bar = self.build_bar();
                bar.set_length(*expected);
                bar.set_position(*done);
            }
            Event::MachineStarted { machine, .. } => {
                self.machine_bar(machine).set_message("booting");
            }
            Event::MachineReady { machine, .. } => self.machine_bar(machine).set_message("ready"),
            Event::StepStarted {
                id,
                machine: Some(machine),
                text,
            } => {
                let text = one_line(text);
                let bar = self.machine_bar(machine);
                bar.reset_elapsed();
                bar.set_message(text);
                self.steps.insert(*id, machine.clone());
            }
            Event::StepFinished { id, .. } => {
                if let Some(machine) = self.steps.remove(id) {
                    self.machine_bar(&machine).set_message("");
                }
            }
            Event::MachineStopped { machine, .. } => {
                if let Some(bar) = self.machines.remove(machine) {
                    bar.finish_and_clear();
                    self.bars.remove(&bar);
                }
            }
            Event::TerminalAttached { attached, .. } => self.bars.set_draw_target(if *attached {
                ProgressDrawTarget::hidden()
            } else {
                ProgressDrawTarget::stderr()
            }),
            Event::TestStarted { .. } | Event::TestFinished { .. } => self.clear(),
            Event::Prompting => {
                self.clear();
                self.prompting = true;
            }
            Event::BuildLog { .. }
            | Event::Begun { .. }
            | Event::Console { .. }
            | Event::StepStarted { .. }
            | Event::Output { .. }
            | Event::Note { .. }
            | Event::SubtestStarted { .. }
            | Event::SubtestFinished { .. }
            | Event::SubtestSkipped { .. }
            | Event::ConsolesShown { .. }
            | Event::CallFailed { .. }
            | Event::Called { .. }
            | Event::CallEnded { .. }
            | Event::ScriptSource { .. }
            | Event::ScreenTaken { .. }
            | Event::CheckpointTaken { .. }
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
            | Event::RunFinished { .. } => {}
        }
    }
}

impl Report for TerminalDisplay {
    fn take(&mut self, record: &Record) {
        self.view.follow(&record.event);
        if !self.prompting {
            self.draw(&record.event);
        }
        // The bars show steps while they last.
        let in_bar = matches!(record.event, Event::StepStarted { .. }) && !self.prompting;
        if in_bar && !self.view.shows_everything() {
            return;
        }
        for line in lines(&record.event, &self.view) {
            let line = sanitise(&line, Colours::of_stdout());
            self.bars.suspend(|| self.output.print(&line));
        }
        if record.event == Event::Prompting {
            self.output.reach_prompt();
        }
    }
}

pub(super) fn template(text: &str) -> ProgressStyle {
    ProgressStyle::with_template(text).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    use indicatif::InMemoryTerm;

    use super::*;

    const EVENTS: &str = include_str!("../../fixtures/events/passed.jsonl");

    /// How long a bar may take to be drawn: it is drawn some times a second.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A terminal's bars without what moves: the spinner and the time.
    fn still(screen: &str) -> Vec<String> {
        let still = |line: &str| {
            let line: String = line.chars().skip(1).collect();
            line.trim_end_matches(|c: char| c.is_ascii_digit() || "smh :".contains(c))
                .trim()
                .to_owned()
        };
        screen.lines().map(still).collect()
    }

    #[test]
    fn machines_have_a_bar_each_while_they_run() {
        let terminal = InMemoryTerm::new(10, 60);
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let output = PromptOutput::default();
        let mut display = TerminalDisplay::on(target, Detail::Normal, output.clone());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let printed = lines.clone();
        let print = move |line: &str| printed.lock().unwrap().push(line.to_owned());
        let records = EVENTS
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let mut compared = 0;
        let play = || {
            for record in records {
                let record: Record = record;
                display.take(&record);
                let expected: &[&str] = match &record.event {
                    Event::StepStarted { id: 2, .. } => &[
                        "client: booting",
                        "server: waiting for the guest to finish booting",
                    ],
                    Event::MachineReady { machine, .. } if machine == "server" => {
                        &["client: booting", "server: ready"]
                    }
                    Event::TestFinished { .. } => &[],
                    _ => continue,
                };
                compared += 1;
                let begin = Instant::now();
                while still(&terminal.contents()) != expected {
                    let screen = terminal.contents();
                    assert!(begin.elapsed() < PATIENCE, "{screen}\n{expected:?}");
                    std::thread::yield_now();
                }
            }
        };
        output.while_reading(print, play);
        assert_eq!(compared, 3);
        // Steps are in the bars, and no lines.
        let lines = lines.lock().unwrap();
        assert!(
            !lines.iter().any(|line| line.contains("waiting for")),
            "{lines:#?}"
        );
        assert!(lines.last().unwrap().contains("passed"), "{lines:#?}");
    }
}
