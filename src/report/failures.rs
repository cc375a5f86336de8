//! A failure on one screen: where, what was expected, what came instead, and what the machines say.

use console::style;

use super::drawing::{Annotation, AnnotationKind, Colours, draw};
use super::sanitise;
use crate::model::event::{CommandResult, ConsoleTail, Failure, Frame, UnitState};

/// How many calls at the start and at the end of a long chain are shown.
const SHOWN_CALLS: usize = 8;

/// The report of a failure as plain text.
pub fn report_of(failure: &Failure) -> String {
    let report = sanitise(&explain(failure).join("\n"), Colours::Off);
    report.trim().to_owned()
}

/// The report of a failure, line by line.
pub fn explain(failure: &Failure) -> Vec<String> {
    let mut lines = vec![String::new()];
    if let Some(subtest) = &failure.subtest {
        lines.push(format!("{} {subtest}", style("in subtest:").bold()));
    }
    let what = if failure.message.is_empty() {
        failure.kind.clone()
    } else {
        format!("{}: {}", failure.kind, failure.message)
    };
    match &failure.statement {
        Some(statement) => {
            let annotation = Annotation {
                kind: AnnotationKind::Error,
                headline: &what,
                label: "failed here",
            };
            lines.extend(
                draw(statement, &annotation, Colours::of_stdout())
                    .lines()
                    .map(str::to_owned),
            );
        }
        None => lines.extend(what.lines().map(|line| style(line).red().to_string())),
    }
    for cause in &failure.causes {
        lines.push(format!(
            "{} {}: {}",
            title("because of"),
            cause.kind,
            cause.message
        ));
        lines.extend(cause.at.iter().map(frame));
    }
    for (name, value) in &failure.variables {
        lines.push(format!("  {name} = {value}"));
    }
    if !failure.difference.is_empty() {
        lines.push(title("the difference:"));
        lines.extend(indented(&failure.difference));
    }
    for state in &failure.details.failed_units {
        lines.push(title(&format!("the unit {} has failed:", state.unit)));
        lines.extend(unit(state));
    }
    if let Some(result) = &failure.details.command {
        lines.extend(command(result));
    }
    if let Some(state) = &failure.details.unit {
        lines.extend(unit(state));
    }
    for ConsoleTail {
        machine,
        lines: tail,
    } in &failure.console
    {
        lines.push(title(&format!("the console of {machine} ends:")));
        lines.extend(indented(&tail.join("\n")));
    }
    // The outermost is the statement itself if there is no other.
    if failure.traceback.len() > 1 {
        lines.push(title("called from:"));
        lines.extend(calls(&failure.traceback));
    }
    for file in &failure.files {
        lines.push(format!("saved {}", file.display()));
    }
    lines.push(String::new());
    lines
}

fn command(result: &CommandResult) -> Vec<String> {
    let CommandResult {
        command,
        status,
        stdout,
        stderr,
    } = result;
    let mut lines = vec![match status {
        Some(status) => title(&format!("the command (exit code {status}):")),
        None => title("the command, at its last attempt:"),
    }];
    lines.extend(indented(command));
    for (name, text) in [("standard output", stdout), ("standard error", stderr)] {
        if !text.trim().is_empty() {
            lines.push(title(&format!("its {name}:")));
            lines.extend(indented(text.trim_end()));
        }
    }
    if stdout.trim().is_empty() && stderr.trim().is_empty() {
        lines.push("it printed nothing".to_owned());
    }
    lines
}

fn unit(state: &UnitState) -> Vec<String> {
    let mut lines = vec![title(&format!("systemctl status {}:", state.unit))];
    lines.extend(indented(state.status.trim_end()));
    if !state.journal.trim().is_empty() {
        lines.push(title("its journal ends:"));
        lines.extend(indented(state.journal.trim_end()));
    }
    lines
}

/// The calls, those in the middle of a deep recursion left out.
fn calls(traceback: &[Frame]) -> Vec<String> {
    if traceback.len() <= 2 * SHOWN_CALLS {
        return traceback.iter().map(frame).collect();
    }
    let left_out = traceback.len() - 2 * SHOWN_CALLS;
    let head = traceback[..SHOWN_CALLS].iter().map(frame);
    let tail = traceback[SHOWN_CALLS + left_out..].iter().map(frame);
    head.chain([format!("  … {left_out} calls …")])
        .chain(tail)
        .collect()
}

fn frame(frame: &Frame) -> String {
    let within = if frame.function == "<module>" {
        String::new()
    } else {
        format!(" in {}", frame.function)
    };
    let place = match (&frame.file, frame.file_line) {
        (Some(file), Some(line)) => format!("{}:{line}", file.display()),
        _ => format!("line {} of the script", frame.line),
    };
    format!("  {place}{within}: {}", frame.source)
}

fn title(text: &str) -> String {
    style(text).bold().to_string()
}

fn indented(text: &str) -> impl Iterator<Item = String> + '_ {
    text.lines()
        .map(|line| format!("  {line}").trim_end().to_owned())
}
