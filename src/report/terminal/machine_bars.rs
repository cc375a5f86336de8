//! Live progress of one test: what is built, and what each machine is doing.

use std::collections::BTreeMap;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};

use super::bar_terminal::{clear_stderr, stderr_target};
use super::{TICK, template};
use crate::model::event::Event;
use crate::report::lines::{one_line, short_name};
use crate::report::{Colours, sanitise};

/// A bar for the build, and one for each machine that runs.
#[derive(Debug)]
pub(super) struct MachineBars {
    bars: MultiProgress,
    build: Option<ProgressBar>,
    building: Vec<String>,
    machines: BTreeMap<String, ProgressBar>,
    /// The steps that have begun, by their numbers: each with its machine. A step may begin within another.
    steps: BTreeMap<u64, (String, String)>,
}

impl MachineBars {
    pub fn new(bars: MultiProgress) -> Self {
        Self {
            bars,
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

    /// Shows the step that a machine is at, which is the one that began last.
    fn show_step(&mut self, machine: &str) {
        let steps = self.steps.values().rev();
        let mut steps = steps.filter(|(other, _)| other == machine);
        if let Some(text) = steps.next().map(|(_, text)| text.clone()) {
            self.machine_bar(machine).set_message(text);
        }
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

    /// Removes all bars.
    pub fn clear(&mut self) {
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

    /// Draws an event of the only test.
    pub fn draw(&mut self, event: &Event) {
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
                // Until the script asks for something, nothing is known of its boot.
                self.machine_bar(machine).set_message("up");
            }
            Event::MachineReady { machine, .. } => {
                self.machine_bar(machine).set_message("ready");
                // The step that has waited for it goes on.
                self.show_step(machine);
            }
            Event::StepStarted {
                id,
                machine: Some(machine),
                text,
            } => {
                self.machine_bar(machine).reset_elapsed();
                let step = (machine.clone(), one_line(text));
                self.steps.insert(*id, step);
                self.show_step(machine);
            }
            Event::StepFinished { id, .. } => {
                if let Some((machine, _)) = self.steps.remove(id) {
                    self.machine_bar(&machine).set_message("");
                    self.show_step(&machine);
                }
            }
            Event::MachineStopped { machine, .. } => {
                if let Some(bar) = self.machines.remove(machine) {
                    bar.finish_and_clear();
                    self.bars.remove(&bar);
                }
            }
            Event::TerminalAttached { attached: true, .. } => {
                // First no more pictures: each bar is drawn by a thread of its own.
                self.bars.set_draw_target(ProgressDrawTarget::hidden());
                clear_stderr();
            }
            Event::TerminalAttached {
                attached: false, ..
            } => self.bars.set_draw_target(stderr_target()),
            Event::TestStarted { .. } | Event::TestFinished { .. } | Event::Prompting => {
                self.clear();
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
            | Event::RunFinished { .. } => {}
        }
    }
}
