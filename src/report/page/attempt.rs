//! One attempt: the timeline, the calls, the pictures, the consoles and the files.

use std::path::Path;

use maud::{Markup, html};

use super::files::files;
use super::lanes::lanes;
use super::pictures::film;
use super::{PageContext, link, plain};
use crate::output_folder::console_log;
use crate::report::recorded::{CallSpan, ConsoleLine, ConsoleText, Timeline, level};

/// Subtests that are deeper in others are not moved further.
const DEEPEST: usize = 8;

pub(super) fn attempt_view(
    context: PageContext<'_>,
    id: &str,
    folder: &Path,
    timeline: &Timeline,
) -> Markup {
    html! {
        (lanes(id, timeline))
        // The call that was chosen.
        div.chosen aria-live="polite" hidden {}
        (subtests(timeline))
        (calls(id, timeline))
        (conversations(timeline))
        (film(context.pictures, id, folder, timeline))
        @if timeline.output.count > 0 {
            (text_view(timeline, "Output of the script", None, &timeline.output))
        }
        @for (machine, lines) in &timeline.consoles {
            @let log = link(context, &console_log(folder, machine));
            (text_view(timeline, &format!("Console of {machine}"), log.as_deref(), lines))
        }
        (files(context, folder, timeline))
    }
}

/// The subtests in the order in which they began, each below the one that it is in.
fn subtests(timeline: &Timeline) -> Markup {
    let nested = timeline.nested_subtests();
    if nested.is_empty() {
        return html! {};
    }
    html! {
        details.subtests {
            summary { "Subtests (" (nested.len()) ")" }
            ol {
                @for (subtest, depth) in nested {
                    li style={ "padding-left:" (depth.min(DEEPEST)) "rem" } {
                        span.time { (format!("{:.2} s", subtest.begin_s - timeline.begin_s)) }
                        span.failed[subtest.failed] { (plain(&subtest.name)) @if subtest.failed { " (failed)" } }
                        span.time { (format!("{:.2} s", subtest.end_s - subtest.begin_s)) }
                    }
                }
            }
        }
    }
}

fn calls(id: &str, timeline: &Timeline) -> Markup {
    if timeline.calls.is_empty() {
        return html! {};
    }
    let count = timeline.calls.count();
    let mut next = 0;
    let shown = timeline.calls.iter().map(|call| {
        let left_out = call.number - next;
        next = call.number + 1;
        html! {
            @if left_out > 0 { li.left-out { "… " (lines_of(left_out, "call")) " in events.jsonl …" } }
            li #{ "call-" (id) "-" (call.number) } value=(call.number + 1) { (call_view(call, timeline)) }
        }
    });
    html! {
        details.calls {
            summary { "Calls (" (count) ")" }
            ol { @for call in shown { (call) } }
        }
    }
}

/// The conversations in the capture of the networks.
fn conversations(timeline: &Timeline) -> Markup {
    let listed = &timeline.conversations;
    if listed.is_empty() {
        return html! {};
    }
    html! {
        details.conversations {
            summary { "Conversations on the networks (" (listed.len()) ")" }
            table {
                tr { th { "Protocol" } th { "From" } th { "To" } th { "Packets" } th { "Bytes" } th { "Resets" } th { "Retransmissions" } th { "Lost by faults" } }
                @for one in listed {
                    tr {
                        td { (plain(&one.protocol)) }
                        td { (plain(&one.client)) }
                        td { (plain(&one.server)) @if let Some(port) = one.port { ", port " (port) } }
                        td { (one.packets) }
                        td { (one.bytes) }
                        td.failed[one.resets > 0] { (one.resets) }
                        td.failed[one.retransmissions > 0] { (one.retransmissions) }
                        td { (one.lost) }
                    }
                }
            }
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

/// A text that has grown in time, with a search.
fn text_view(timeline: &Timeline, title: &str, log: Option<&str>, lines: &ConsoleText) -> Markup {
    let left_out = lines.left_out();
    let title = plain(title);
    html! {
        details.console data-title=(title) {
            summary { (title) " (" (lines_of(lines.count, "line")) ")" }
            p.tools {
                input type="search" placeholder="Search" aria-label={ "Search: " (title) } autocomplete="off";
                select aria-label={ "Level: " (title) } {
                    option value="all" { "all lines" }
                    option value="warning" { "warnings and errors" }
                    option value="error" { "errors" }
                }
                @if let Some(log) = log { a href=(log) { "whole log" } }
            }
            div.lines role="region" aria-label=(title) tabindex="0" {
                @for line in &lines.first { (console_line(line, timeline)) }
                @if left_out > 0 { div.left-out { "… " (lines_of(left_out, "line")) " only in the output folder …" } }
                @for line in &lines.last { (console_line(line, timeline)) }
            }
        }
    }
}

fn console_line(line: &ConsoleLine, timeline: &Timeline) -> Markup {
    html! {
        div.(level(&line.text)) data-time=(format!("{:.2}", line.time_s - timeline.begin_s)) { (plain(&line.text)) }
    }
}

fn lines_of(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
