//! Live progress of one test: what is built, and what each machine is doing.

use std::collections::BTreeMap;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};

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
    /// The machines whose bars show a step, by the step's number.
    steps: BTreeMap<u64, String>,
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
