//! One attempt: the timeline, the calls, the consoles, the pictures and the files.

use std::path::{Component, Path, PathBuf};

use maud::{Markup, html};

use super::pictures::film;
use super::timeline::{CallSpan, ConsoleLine, ConsoleText, Span, Timeline};
use super::{PageContext, link, plain, size};
use crate::output_folder::console_log;

pub(super) fn attempt_view(
    context: PageContext<'_>,
    id: &str,
    folder: &Path,
    timeline: &Timeline,
) -> Markup {
    html! {
        (lanes(id, timeline))
        (calls(id, timeline))
        (film(id, folder, timeline))
        @for (machine, lines) in &timeline.consoles {
            (console(context, id, folder, machine, lines))
        }
        (files(context, folder, timeline))
    }
}

/// A lane for the subtests, and one for each machine.
fn lanes(id: &str, timeline: &Timeline) -> Markup {
    let length_s = (timeline.end_s - timeline.begin_s).max(0.001);
    let place = |begin_s: f64, end_s: f64| {
        let left = (begin_s - timeline.begin_s).clamp(0.0, length_s) / length_s * 100.0;
        let right = (end_s - timeline.begin_s).clamp(0.0, length_s) / length_s * 100.0;
        format!("left:{left:.2}%;width:{:.2}%", (right - left).max(0.15))
    };
    let machines = timeline.machines();
    if machines.is_empty() && timeline.subtests.is_empty() {
        return html! {};
    }
    let span = |kind: &str, span: &Span| {
        let title = format!("{}: {:.2} s", span.name, span.end_s - span.begin_s);
        html! {
            span.bar.(kind).failed[span.failed] style=(place(span.begin_s, span.end_s)) title=(plain(&title)) { (plain(&span.name)) }
        }
    };
    html! {
        div.lanes data-begin=(timeline.begin_s) data-end=(timeline.end_s) {
            @if !timeline.subtests.is_empty() {
                div.lane { span.name { "subtests" } div.track {
                    @for subtest in &timeline.subtests { (span("subtest", subtest)) }
                } }
            }
            @for machine in &machines {
                div.lane { span.name { (plain(machine)) } div.track {
                    @for boot in timeline.boots.get(machine).into_iter().flatten() { (span("boot", boot)) }
                    @for (number, call) in timeline.calls.iter().enumerate().filter(|(_, call)| call.machine == *machine) {
                        a.bar.call.failed[call.failed] href={ "#call-" (id) "-" (number) }
                            style=(place(call.begin_s, call.begin_s + call.duration_s))
                            title=(plain(&format!("{}({}): {:.2} s", call.method, call.arguments, call.duration_s)))
                            data-time=(format!("{:.3}", call.begin_s)) {}
                    }
                } }
            }
            div.lane.axis { span.name {} div.track { span { "0 s" } span.end { (format!("{length_s:.1} s")) } } }
        }
    }
}

fn calls(id: &str, timeline: &Timeline) -> Markup {
    if timeline.calls.is_empty() {
        return html! {};
    }
    let count = timeline.call_count;
    html! {
        details.calls {
            summary { "Calls (" (count) ")" }
            ol {
                @for (number, call) in timeline.calls.iter().enumerate() {
                    li #{ "call-" (id) "-" (number) } tabindex="-1" { (call_view(call, timeline)) }
                }
            }
            @if count > timeline.calls.len() { p { "The others are in events.jsonl." } }
        }
    }
}

fn call_view(call: &CallSpan, timeline: &Timeline) -> Markup {
    let line = call.line.and_then(|line| usize::try_from(line).ok());
    let source = line.and_then(|line| timeline.script.get(line.saturating_sub(1)));
    let place = source.map(|source| match (&source.file, source.file_line) {
        (Some(file), Some(line)) => format!("{}:{line}", file.display()),
        _ => format!("line {} of the script", line.unwrap_or_default()),
    });
    html! {
        span.time { (format!("{:.2} s", call.begin_s - timeline.begin_s)) }
        code.failed[call.failed] { (plain(&call.machine)) "." (plain(&call.method)) "(" (plain(&call.arguments)) ")" }
        span.time { (format!("{:.2} s", call.duration_s)) }
        @if let (Some(source), Some(place)) = (source, place) {
            p.place { (plain(&place)) ": " code { (plain(source.text.trim())) } }
        }
        @if !call.result.trim().is_empty() { pre { (plain(&call.result)) } }
    }
}

fn console(
    context: PageContext<'_>,
    id: &str,
    folder: &Path,
    machine: &str,
    lines: &ConsoleText,
) -> Markup {
    let left_out = lines.left_out();
    let log = link(context, &console_log(folder, machine));
    html! {
        details.console #{ "console-" (id) "-" (plain(machine)) } data-machine=(plain(machine)) {
            summary { "Console of " (plain(machine)) " (" (lines.count) " lines)" }
            p.tools {
                input type="search" placeholder="Search the console" aria-label="Search the console" autocomplete="off";
                select aria-label="Level" {
                    option value="all" { "all lines" }
                    option value="warning" { "warnings and errors" }
                    option value="error" { "errors" }
                }
                @if let Some(log) = log { a href=(log) { "whole log" } }
            }
            div.lines tabindex="0" {
                @for line in &lines.first { (console_line(line)) }
                @if left_out > 0 { p.left-out { "… " (left_out) " lines are in the whole log …" } }
                @for line in &lines.last { (console_line(line)) }
            }
        }
    }
}

fn console_line(line: &ConsoleLine) -> Markup {
    html! {
        p.(level(&line.text)) data-time=(format!("{:.2}", line.time_s)) { (plain(&line.text)) }
    }
}

/// How bad a line sounds.
fn level(line: &str) -> &'static str {
    let text = line.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["error", "fail", "panic", "oops", "segfault", "fatal"]) {
        "error"
    } else if has(&["warn", "deprecated", "timed out", "timeout"]) {
        "warning"
    } else {
        "info"
    }
}

/// What the test has saved, and what every run writes.
fn files(context: PageContext<'_>, folder: &Path, timeline: &Timeline) -> Markup {
    let written = ["events.jsonl", "junit.xml", "build.log"].map(PathBuf::from);
    let is_inside = |name: &&PathBuf| {
        name.components()
            .all(|part| matches!(part, Component::Normal(_)))
    };
    let names = timeline.files.iter().filter(is_inside).chain(&written);
    let files: Vec<(String, String, String)> = names
        .filter_map(|name| {
            let path = folder.join(name);
            Some((
                link(context, &path)?,
                name.display().to_string(),
                size(&path)?,
            ))
        })
        .collect();
    if files.is_empty() {
        return html! {};
    }
    html! {
        details.files {
            summary { "Files (" (files.len()) ")" }
            ul {
                @for (link, name, size) in &files {
                    li { a href=(link) download { (plain(name)) } " (" (size) ")" }
                }
            }
        }
    }
}
