//! Live progress on a terminal, below the lines that stay: of one test, or of several.

mod bar_terminal;
mod machine_bars;
mod suspension;
mod test_bars;

use std::io;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressStyle};

pub use self::bar_terminal::progress_bars;
use self::machine_bars::MachineBars;
pub use self::suspension::make_room_when_suspended;
use self::test_bars::TestBars;
use super::output_stream::OutputStream;
use super::texts::Texts;
use super::{Colours, Detail, Report, sanitise};
use crate::model::event::{Event, Record};
use crate::prompt_output::PromptOutput;

/// The time between two pictures of a spinner.
const TICK: Duration = Duration::from_millis(120);

/// Draws on standard error, and prints lines on standard output.
#[derive(Debug)]
pub struct TerminalDisplay {
    texts: Texts,
    /// Standard output for the events of one test, which may have a prompt.
    output: PromptOutput,
    /// Standard output for those of a run of several tests.
    stdout: OutputStream,
    bars: MultiProgress,
    machines: MachineBars,
    tests: TestBars,
    /// Whether a prompt waits: progress bars would disturb it.
    prompting: bool,
}

impl TerminalDisplay {
    /// Returns a display that draws its progress on `bars`.
    #[must_use]
    pub fn new(detail: Detail, output: PromptOutput, bars: MultiProgress) -> Self {
        output.attach_display();
        Self {
            texts: Texts::new(detail),
            output,
            stdout: OutputStream::shared(),
            machines: MachineBars::new(bars.clone()),
            tests: TestBars::new(bars.clone()),
            bars,
            prompting: false,
        }
    }

    fn take_of_one(&mut self, record: &Record) {
        if matches!(record.event, Event::TestStarted { .. }) {
            self.prompting = false;
        }
        if !self.prompting {
            self.machines.draw(&record.event);
        }
        // The bars show steps while they last.
        let in_bar = matches!(record.event, Event::StepStarted { .. }) && !self.prompting;
        self.prompting |= record.event == Event::Prompting;
        if in_bar && !self.texts.shows_everything() {
            return;
        }
        for line in self.texts.of(record) {
            let line = sanitise(&line, Colours::of_stdout());
            self.bars.suspend(|| self.output.print(&line));
        }
        if record.event == Event::Prompting {
            self.output.reach_prompt();
        }
    }

    fn take_of_several(&mut self, record: &Record) {
        self.tests.draw(record);
        let texts = self.texts.of(record);
        if texts.is_empty() {
            return;
        }
        let stdout = &mut self.stdout;
        self.bars.suspend(|| {
            for line in texts {
                let line = sanitise(&line, Colours::of_stdout()) + "\n";
                stdout.print(line.as_bytes());
            }
        });
    }
}

/// Whether an event is one of a run of several tests.
fn is_of_several(record: &Record) -> bool {
    let is_of_run = matches!(
        record.event,
        Event::RunStarted { .. } | Event::TestsFound { .. } | Event::RunFinished { .. }
    );
    record.label.is_some() || is_of_run
}

impl Report for TerminalDisplay {
    fn take(&mut self, record: &Record) {
        if is_of_several(record) {
            self.take_of_several(record);
        } else {
            self.take_of_one(record);
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        // A run that was cut short has bars that no event has ended.
        self.machines.clear();
        self.tests.clear();
        self.stdout.finish()
    }
}

pub(super) fn template(text: &str) -> ProgressStyle {
    ProgressStyle::with_template(text).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    use indicatif::{InMemoryTerm, ProgressDrawTarget};

    use super::*;

    const EVENTS: &str = include_str!("../../../fixtures/events/passed.jsonl");

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
        let mut display = {
            let bars = MultiProgress::with_draw_target(target);
            TerminalDisplay::new(Detail::Normal, output.clone(), bars)
        };
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
                        "client: up",
                        "server: waiting for the guest to finish booting",
                    ],
                    Event::MachineReady { machine, .. } if machine == "server" => &[
                        "client: up",
                        "server: waiting for TCP port 3000 of localhost to open",
                    ],
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
