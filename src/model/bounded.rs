//! Texts of guests and scripts that are too long to be shown whole: each event is cut here, before anyone reads it.

use std::path::PathBuf;

use super::event::{Event, Failure, Frame};

/// A line, a name or a source beyond this many bytes is cut.
const LONGEST_LINE: usize = 16 << 10;
const LONGEST_NAME: usize = 2000;

/// The text between the number of bytes that are left out and the place of the whole.
const CUT: &str = " bytes; the whole ";

/// How many calls, exceptions and variables of a failure are shown.
const MOST_PARTS: usize = 64;

/// Saves a whole text under a name like `failed-command.stdout`, given its two parts, and returns its path. `None` if
/// it could not be saved.
pub type Keep<'a> = dyn FnMut(&str, &str, &str) -> Option<PathBuf> + 'a;

/// Output beyond this many bytes or lines is cut in the middle; the whole is saved.
const LONGEST_OUTPUT: usize = 4000;
const MOST_LINES: usize = 40;

/// Whether a text is one.
fn is_long(text: &str) -> bool {
    (text.len() > LONGEST_OUTPUT || text.lines().count() > MOST_LINES) && !is_cut(text)
}

/// Whether a text is cut already. One that only says so is no longer than one that is.
fn is_cut(text: &str) -> bool {
    text.len() <= 3 * LONGEST_OUTPUT && text.lines().count() <= MOST_LINES + 2 && text.contains(CUT)
}

/// Long output without its middle, with the place of the whole: whole lines if they are short enough.
fn cut(text: &str, whole: Option<&str>) -> String {
    let head: String = part(text.split_inclusive('\n')).into_iter().collect();
    let mut tail = part(text[head.len()..].split_inclusive('\n').rev());
    tail.reverse();
    let (head, tail) = if head.is_empty() || tail.is_empty() {
        let middle = text.floor_char_boundary(LONGEST_OUTPUT / 2);
        let end = text.floor_char_boundary(text.len() - LONGEST_OUTPUT / 2);
        (format!("{}\n", &text[..middle]), text[end..].to_owned())
    } else {
        (head, tail.concat())
    };
    let left_out = text.len().saturating_sub(head.len() + tail.len());
    let place = match whole {
        Some(whole) => format!("is in {whole}"),
        None => "could not be saved".to_owned(),
    };
    format!("{head}[… {left_out}{CUT}{place} …]\n{tail}")
}

/// As many lines as half of what is shown may have.
fn part<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut bytes = 0;
    lines
        .take(MOST_LINES / 2)
        .take_while(|line| {
            bytes += line.len();
            bytes <= LONGEST_OUTPUT / 2
        })
        .collect()
}

impl Event {
    /// Cuts the long texts of the event; `keep` saves them. Returns the paths that no failure of the event names.
    pub fn bound(&mut self, keep: &mut Keep<'_>) -> Vec<PathBuf> {
        let mut kept = Vec::new();
        match self {
            Self::Output { text } | Self::Note { text, .. } | Self::StepStarted { text, .. } => {
                kept.extend(bound_line(text, keep));
            }
            Self::BuildLog { line, .. } => kept.extend(bound_line(line, keep)),
            Self::SubtestStarted { name } | Self::SubtestSkipped { name } => shorten(name),
            Self::SubtestFinished { name, failure, .. } => {
                shorten(name);
                if let Some(failure) = failure {
                    failure.bound(keep);
                }
            }
            Self::CallFailed { failure } => failure.bound(keep),
            Self::TestFinished {
                failures, subtests, ..
            } => {
                for failure in failures {
                    failure.bound(keep);
                }
                for subtest in subtests {
                    shorten(&mut subtest.name);
                }
            }
            Self::FaultStarted { text, .. } => shorten(text),
            Self::Called { method, .. } => shorten(method),
            // Their texts are bounded by the module that makes them.
            Self::BuildStarted { .. }
            | Self::BuildFinished { .. }
            | Self::BuildProgress { .. }
            | Self::Begun { .. }
            | Self::TestStarted { .. }
            | Self::MachineStarted { .. }
            | Self::MachineReady { .. }
            | Self::MachineStopped { .. }
            | Self::Console { .. }
            | Self::StepFinished { .. }
            | Self::ConsolesShown { .. }
            | Self::Prompting
            | Self::TerminalAttached { .. }
            | Self::CallEnded { .. }
            | Self::ScriptSource { .. }
            | Self::ScreenTaken { .. }
            | Self::CheckpointTaken { .. }
            | Self::Rewound { .. }
            | Self::FaultFinished { .. }
            | Self::Seeded { .. }
            | Self::CaptureSaved { .. }
            | Self::FileSaved { .. }
            | Self::OutputLost { .. }
            | Self::Verified { .. }
            | Self::Watching { .. }
            | Self::Changed
            | Self::RunStarted { .. }
            | Self::TestsFound { .. }
            | Self::Retrying { .. }
            | Self::Slow { .. }
            | Self::TestEnded { .. }
            | Self::ReportWritten { .. }
            | Self::RunFinished { .. } => {}
        }
        kept
    }
}

impl Failure {
    /// Cuts the long texts of the failure. The files of those that `keep` has saved are among its files.
    pub fn bound(&mut self, keep: &mut Keep<'_>) {
        let files = &mut self.files;
        let mut long = |text: &mut String, stem: &str, end: &str| {
            if is_long(text) {
                let path = keep(stem, end, text);
                let place = path.as_ref().map(|path| path.display().to_string());
                *text = cut(text, place.as_deref());
                files.extend(path.filter(|path| !files.contains(path)));
            }
        };
        long(&mut self.message, "failure-message", "txt");
        long(&mut self.difference, "assertion", "diff");
        self.causes.truncate(MOST_PARTS);
        for cause in &mut self.causes {
            shorten(&mut cause.kind);
            cause.at.iter_mut().for_each(shorten_frame);
            long(&mut cause.message, "failure-message", "txt");
        }
        if let Some(result) = &mut self.details.command {
            long(&mut result.stdout, "failed-command", "stdout");
            long(&mut result.stderr, "failed-command", "stderr");
            shorten(&mut result.command);
        }
        let details = &mut self.details;
        for unit in details.unit.iter_mut().chain(&mut details.failed_units) {
            long(&mut unit.status, "failed-unit", "status");
            long(&mut unit.journal, "failed-unit", "journal");
        }
        shorten(&mut self.kind);
        self.subtest.iter_mut().for_each(shorten);
        self.variables.truncate(MOST_PARTS);
        for (name, value) in &mut self.variables {
            shorten(name);
            shorten(value);
        }
        let surplus = self.traceback.len().saturating_sub(2 * MOST_PARTS);
        if surplus > 0 {
            self.traceback.drain(MOST_PARTS..MOST_PARTS + surplus);
        }
        self.traceback.iter_mut().for_each(shorten_frame);
        let lines = self
            .statement
            .iter_mut()
            .flat_map(|statement| &mut statement.lines);
        lines.for_each(shorten);
        let consoles = self
            .console
            .iter_mut()
            .flat_map(|console| &mut console.lines);
        consoles.for_each(shorten);
    }
}

fn bound_line(text: &mut String, keep: &mut Keep<'_>) -> Option<PathBuf> {
    if text.len() <= LONGEST_LINE {
        return None;
    }
    let path = keep("long-line", "txt", text);
    let place = path.as_ref().map(|path| path.display().to_string());
    *text = cut(text, place.as_deref());
    path
}

fn shorten_frame(frame: &mut Frame) {
    shorten(&mut frame.source);
    shorten(&mut frame.function);
}

/// Cuts the end of a name, which is in no file.
fn shorten(text: &mut String) {
    if text.len() > LONGEST_NAME {
        text.truncate(text.floor_char_boundary(LONGEST_NAME));
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_output_is_cut_in_the_middle() {
        let text = format!("begin{}é{}end", "x".repeat(1994), "y".repeat(5000));
        let cut = cut(&text, Some("FILE"));
        assert!(cut.starts_with("begin") && cut.ends_with("end"), "{cut}");
        assert!(cut.contains("the whole is in FILE") && cut.len() < LONGEST_OUTPUT + 100);
    }

    #[test]
    fn many_lines_are_cut_between_them() {
        let lines: Vec<String> = (1..=100).map(|number| format!("line {number}")).collect();
        let text = lines.join("\n") + "\n";
        let cut = super::cut(&text, Some("FILE"));
        assert!(
            cut.starts_with("line 1\n") && cut.ends_with("line 100\n"),
            "{cut}"
        );
        assert!(
            cut.contains("\nline 20\n[… ") && cut.contains(" …]\nline 81\n"),
            "{cut}"
        );
    }

    /// Each text of each kind of event, however long: no event is.
    #[test]
    fn no_event_is_long() {
        let long = "x".repeat(1 << 20);
        let many: Vec<String> = vec![long.clone(); 3];
        let cause = super::super::event::Cause {
            kind: long.clone(),
            message: many.join("\n"),
            at: None,
        };
        let mut failure = Failure {
            kind: long.clone(),
            message: many.join("\n"),
            subtest: Some(long.clone()),
            causes: vec![cause; 4],
            variables: vec![(long.clone(), long.clone()); 8],
            ..Failure::default()
        };
        failure.details.command = Some(super::super::event::CommandResult {
            command: long.clone(),
            status: None,
            stdout: many.join("\n"),
            stderr: "\n".repeat(1 << 20),
        });
        let text = || long.clone();
        let events = [
            Event::Output { text: text() },
            Event::note(super::super::event::Level::Info, text()),
            Event::StepStarted {
                id: 1,
                machine: None,
                text: text(),
            },
            Event::FaultStarted {
                id: 1,
                text: text(),
                machines: Vec::new(),
            },
            Event::SubtestStarted { name: text() },
            Event::SubtestSkipped { name: text() },
            Event::SubtestFinished {
                name: text(),
                duration_s: 1.0,
                failure: Some(Box::new(failure.clone())),
            },
            Event::CallFailed {
                failure: Box::new(failure),
            },
        ];
        for mut event in events {
            let mut saved = 0;
            let mut keep = |stem: &str, _: &str, _: &str| {
                saved += 1;
                Some(PathBuf::from(stem))
            };
            event.bound(&mut keep);
            let size = serde_json::to_string(&event).unwrap().len();
            assert!(size < 120_000, "{size} bytes");
            // A second time there is nothing to cut.
            let once = event.clone();
            event.bound(&mut |_, _, _| panic!("cut again"));
            assert_eq!(event, once);
        }
    }
}
