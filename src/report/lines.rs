//! The lines for each event that people read, with or without colours.

use std::path::Path;

use console::{Style, style};

use super::failures::explain;
use super::{Colours, View, sanitise};
use crate::model::event::{Event, Level, Restored, Subtest, Verdict};

/// The lines for an event; many events have none.
#[allow(clippy::too_many_lines, reason = "one arm for each kind of event")]
pub(super) fn lines(event: &Event, view: &View) -> Vec<String> {
    let everything = view.shows_everything();
    match event {
        Event::BuildLog { derivation, line } if everything => {
            vec![format!("{}> {line}", short_name(derivation))]
        }
        Event::Begun { checkpoint, reason } => vec![begun(checkpoint.as_ref(), reason.as_deref())],
        Event::CheckpointTaken { name, duration_s } => checkpoint_taken(name, *duration_s, view),
        Event::Rewound { name, duration_s } => vec![rewound(name, *duration_s)],
        // A failure names the file.
        Event::CaptureSaved {
            path,
            packets,
            missing,
            ..
        } if everything => vec![capture_saved(path, *packets, *missing)],
        Event::FaultStarted { .. } | Event::FaultFinished { .. } | Event::Seeded { .. } => {
            fault_line(event).into_iter().collect()
        }
        Event::TestStarted {
            test,
            nodes,
            accelerator,
            timeout_factor,
        } => vec![started(test, nodes, accelerator, *timeout_factor)],
        Event::MachineStarted { machine, .. } => vec![on(machine, "started")],
        Event::MachineReady { machine, after_s } => {
            vec![on(machine, &format!("ready after {after_s:.1} s"))]
        }
        Event::MachineStopped {
            machine, status, ..
        } if everything => vec![on(machine, &format!("stopped ({status})"))],
        Event::Console { machine, line } if view.shows_console(machine) => {
            vec![format!("{} {}", style(format!("{machine} #")).dim(), line)]
        }
        Event::StepStarted { machine, text, .. } => {
            vec![note(machine.as_deref(), Level::Info, text)]
        }
        Event::StepFinished { duration_s, .. } if everything => {
            vec![format!("({duration_s:.2} s)")]
        }
        Event::Output { text } => vec![text.clone()],
        Event::Note {
            machine,
            level,
            text,
        } => vec![note(machine.as_deref(), *level, text)],
        Event::TerminalAttached {
            machine,
            attached: true,
        } => vec![on(machine, "terminal attached (Ctrl-] detaches)")],
        Event::SubtestStarted { name } => vec![format!("{} {name}", style("subtest:").bold())],
        Event::SubtestFinished {
            name,
            duration_s,
            failure,
        } => {
            let end = if failure.is_some() { "failed" } else { "done" };
            vec![format!("subtest {end}: {name} ({duration_s:.2} s)")]
        }
        Event::SubtestSkipped { name } if everything => {
            vec![format!("subtest skipped: {name}")]
        }
        Event::CallFailed { failure } => explain(failure),
        Event::OutputLost { path, reason } => vec![format!(
            "{} {} cannot be written: {reason}",
            style("error:").red().bold(),
            path.display()
        )],
        Event::Verified {
            from_checkpoint,
            cold,
        } => vec![verified(*from_checkpoint, *cold)],
        Event::Watching { files } => vec![format!(
            "watching {files} files: a change runs the tests again (Ctrl-C to stop)"
        )],
        Event::Changed => vec!["a file has changed: running again".to_owned()],
        Event::FileSaved { path } => vec![format!("saved {}", path.display())],
        Event::ReportWritten { path } => vec![format!("report in {}", path.display())],
        Event::TestFinished { .. } => finished(event),
        Event::Retrying { attempt, attempts } => vec![format!(
            "{} attempt {attempt} of {attempts}",
            style("again:").yellow().bold()
        )],
        Event::Slow { after_s } => vec![format!(
            "{} it runs for {after_s:.0} s",
            style("slow:").yellow().bold()
        )],
        Event::CaptureSaved { .. }
        | Event::BuildStarted { .. }
        | Event::BuildLog { .. }
        | Event::BuildFinished { .. }
        | Event::BuildProgress { .. }
        | Event::MachineStopped { .. }
        | Event::Console { .. }
        | Event::StepFinished { .. }
        | Event::SubtestSkipped { .. }
        | Event::ConsolesShown { .. }
        | Event::Prompting
        | Event::TerminalAttached { .. }
        | Event::Called { .. }
        | Event::CallEnded { .. }
        | Event::ScriptSource { .. }
        | Event::ScreenTaken { .. }
        | Event::RunStarted { .. }
        | Event::TestsFound { .. }
        | Event::TestEnded { .. }
        | Event::RunFinished { .. } => Vec::new(),
    }
}

fn checkpoint_taken(name: &str, duration_s: f64, view: &View) -> Vec<String> {
    let line = || format!("checkpoint {name:?} ({duration_s:.2} s)");
    view.shows_everything().then(line).into_iter().collect()
}

fn rewound(name: &str, duration_s: f64) -> String {
    format!("rewound to the checkpoint {name:?} ({duration_s:.2} s)")
}

fn capture_saved(path: &Path, packets: u64, missing: u64) -> String {
    let before = match missing {
        0 => String::new(),
        missing => format!("; the {missing} before those are not"),
    };
    format!("{packets} packets are in {}{before}", path.display())
}

/// The line for a fault that begins or ends, or for the seed; `None` for another event.
pub(in crate::report) fn fault_line(event: &Event) -> Option<String> {
    if let Event::FaultStarted { id, text, .. } = event {
        return Some(format!("fault {id}: {}", one_line(text)));
    }
    if let Event::FaultFinished { id, counts, .. } = event {
        return Some(match counts.describe() {
            text if text.is_empty() => format!("fault {id} healed"),
            text => format!("fault {id} healed ({text})"),
        });
    }
    let Event::Seeded { seed } = event else {
        return None;
    };
    Some(format!(
        "seed {seed}: `--seed {seed}` repeats what is random"
    ))
}

/// A text for a place that has one line, such as a step of several commands.
pub(super) fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    sanitise(&lines.collect::<Vec<_>>().join(" "), Colours::Off)
}

fn started(test: &str, nodes: &[String], accelerator: &str, timeout_factor: f64) -> String {
    format!(
        "{} {test} on {} ({accelerator}{})",
        style("running").bold(),
        nodes.join(", "),
        scale(timeout_factor)
    )
}

fn note(machine: Option<&str>, level: Level, text: &str) -> String {
    let text = match level {
        Level::Info => text.to_owned(),
        Level::Warning => format!("{} {text}", style("warning:").yellow().bold()),
        Level::Error => format!("{} {text}", style("error:").red().bold()),
    };
    match machine {
        Some(machine) => on(machine, &text),
        None => text,
    }
}

/// The end of a test: the failures, and last the verdict.
fn finished(event: &Event) -> Vec<String> {
    let Event::TestFinished {
        test,
        verdict,
        duration_s,
        failures,
        subtests,
        output,
        debug,
    } = event
    else {
        return Vec::new();
    };
    let mut lines: Vec<String> = failures.iter().flat_map(explain).collect();
    lines.extend(durations(subtests));
    lines.extend(debug.iter().map(|command| format!("debug it: {command}")));
    lines.push(format!("output in {}", output.display()));
    let headline = format!("{}:", word(*verdict));
    lines.push(format!(
        "{} {test} ({duration_s:.1} s)",
        look(*verdict).bold().apply_to(headline)
    ));
    lines
}

/// Returns the line for a cold run that verifies a verdict from a checkpoint.
fn verified(from_checkpoint: Verdict, cold: Verdict) -> String {
    if from_checkpoint == cold {
        "verified: the cold run has the same verdict".to_owned()
    } else {
        format!(
            "not verified: {} from the checkpoint, {} cold",
            word(from_checkpoint),
            word(cold)
        )
    }
}

/// A verdict as people read it.
#[must_use]
pub fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::SessionClosed => "session closed",
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::Error => "error",
        Verdict::Interrupted => "interrupted",
    }
}

fn look(verdict: Verdict) -> Style {
    match verdict {
        Verdict::SessionClosed => Style::new(),
        Verdict::Passed => Style::new().green(),
        Verdict::Failed | Verdict::Error => Style::new().red(),
        Verdict::Interrupted => Style::new().yellow(),
    }
}

/// Where a run begins.
fn begun(checkpoint: Option<&Restored>, reason: Option<&str>) -> String {
    match (checkpoint, reason) {
        (Some(checkpoint), _) => {
            let booting = match checkpoint.booting.as_slice() {
                [] => String::new(),
                nodes => format!("; booting anew: {}", nodes.join(", ")),
            };
            format!(
                "from checkpoint {:?} (recorded {} ago){booting}",
                checkpoint.name,
                age(checkpoint.age_s)
            )
        }
        (None, Some(reason)) => format!("cold: {reason}"),
        (None, None) => "cold".to_owned(),
    }
}

/// A length of time in its largest unit.
#[must_use]
pub fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86400 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86400),
    }
}

/// The timeout factor, unless it is 1.
fn scale(factor: f64) -> String {
    if (factor - 1.0).abs() < f64::EPSILON {
        String::new()
    } else {
        format!(", default timeouts ×{factor}")
    }
}

/// The name in a derivation's path.
pub fn short_name(derivation: &str) -> &str {
    let name = derivation.rsplit('/').next().unwrap_or(derivation);
    let name = name.strip_suffix(".drv").unwrap_or(name);
    // After the hash of 32 characters and a dash.
    name.get(33..).unwrap_or(name)
}

fn on(machine: &str, text: &str) -> String {
    format!("{} {text}", style(format!("{machine}:")).cyan())
}

/// How long each subtest took.
fn durations(subtests: &[Subtest]) -> Vec<String> {
    if subtests.is_empty() {
        return Vec::new();
    }
    let mut lines = vec!["subtests:".to_owned()];
    lines.extend(subtests.iter().map(|subtest| {
        let mark = if subtest.passed {
            style("passed").green()
        } else {
            style("failed").red()
        };
        format!("  {mark} {} ({:.2} s)", subtest.name, subtest.duration_s)
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::{one_line, short_name};

    #[test]
    fn a_step_of_several_lines_takes_one() {
        assert_eq!(one_line("waiting for `a`"), "waiting for `a`");
        assert_eq!(
            one_line("must succeed:\n  first\n  second\n"),
            "must succeed: first second"
        );
        assert_eq!(one_line("\x1b[2J\n"), "");
    }

    #[test]
    fn derivations_are_named_without_their_hash() {
        assert_eq!(
            short_name("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-vm-machine.drv"),
            "vm-machine"
        );
    }
}
