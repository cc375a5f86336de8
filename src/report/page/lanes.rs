//! The picture of an attempt in time: a lane for the subtests, and one for each machine.

use maud::{Markup, html};

use super::plain;
use crate::report::recorded::{BootOutcome, BootSpan, CallSpan, Span, Timeline};

/// The height of a row of nested subtests, in pixels.
const ROW_PX: usize = 18;

/// How many letters of a call are shown where the mouse is; all of it is in the list.
const LONGEST_TITLE: usize = 200;

/// Where spans of time are, in percent of the whole.
pub(super) struct Scale {
    begin_s: f64,
    length_s: f64,
}

impl Scale {
    pub fn new(begin_s: f64, end_s: f64) -> Self {
        Self {
            begin_s,
            length_s: (end_s - begin_s).max(0.001),
        }
    }

    pub fn style(&self, begin_s: f64, end_s: f64) -> String {
        let percent =
            |time_s: f64| (time_s - self.begin_s).clamp(0.0, self.length_s) / self.length_s * 100.0;
        let (left, right) = (percent(begin_s), percent(end_s));
        format!("left:{left:.2}%;width:{:.2}%", (right - left).max(0.15))
    }
}

pub(super) fn lanes(id: &str, timeline: &Timeline) -> Markup {
    let scale = Scale::new(timeline.begin_s, timeline.end_s);
    let at = |time_s: f64| format!("{:.3}", time_s - timeline.begin_s);
    let machines = timeline.machines();
    if machines.is_empty() && timeline.subtests.is_empty() {
        return html! {};
    }
    html! {
        div.lanes data-length=(format!("{:.3}", scale.length_s)) {
            (subtests(timeline, &scale, at))
            @for machine in &machines {
                div.lane { span.name title=(plain(machine)) { (plain(machine)) } div.track {
                    @for BootSpan { span: boot, end } in timeline.boots.get(machine).into_iter().flatten() {
                        span.bar.(class_of(*end)).failed[boot.failed] style=(scale.style(boot.begin_s, boot.end_s)) title=(title(boot)) data-begin=(at(boot.begin_s)) data-end=(at(boot.end_s)) {}
                    }
                    @for fault in timeline.faults.of(machine, timeline.end_s) {
                        span.bar.fault style=(scale.style(fault.begin_s, fault.end_s)) title=(title(&fault)) data-begin=(at(fault.begin_s)) data-end=(at(fault.end_s)) {}
                    }
                    @for call in timeline.calls.iter().filter(|call| call.machine == *machine) {
                        a.bar.call.failed[call.failed] href={ "#call-" (id) "-" (call.number) }
                            style=(scale.style(call.begin_s, call.begin_s + call.duration_s))
                            title=(plain(&call_title(call)))
                            aria-label=(plain(&format!("{}, call {} of {}", call.method, call.number + 1, timeline.calls.count())))
                            data-begin=(at(call.begin_s)) data-end=(at(call.begin_s + call.duration_s)) {}
                    }
                } }
            }
            div.lane.axis {
                span.name {}
                div.track {
                    span { "0 s" }
                    span.legend { i.boot {} " boot " i.up {} " up " i.call {} " call " i.fault {} " fault " i.failed {} " failed" }
                    span.end { (format!("{:.1} s", scale.length_s)) }
                }
            }
        }
    }
}

fn class_of(end: BootOutcome) -> &'static str {
    match end {
        BootOutcome::Answered | BootOutcome::Died => "boot",
        BootOutcome::NotAsked => "up",
    }
}

fn call_title(call: &CallSpan) -> String {
    let whole = format!("{}({})", call.method, call.arguments);
    let mut letters = whole.chars();
    let mut shown: String = letters.by_ref().take(LONGEST_TITLE).collect();
    if letters.next().is_some() {
        shown.push('…');
    }
    format!("{shown}: {:.2} s", call.duration_s)
}

fn subtests(timeline: &Timeline, scale: &Scale, at: impl Fn(f64) -> String) -> Markup {
    let nested = timeline.nested_subtests();
    let Some(rows) = nested.iter().map(|(_, depth)| depth + 1).max() else {
        return html! {};
    };
    html! {
        div.lane { span.name { "subtests" } div.track style={ "height:" (rows * ROW_PX + 2) "px" } {
            @for (subtest, depth) in &nested {
                span.bar.subtest.failed[subtest.failed]
                    style={ (scale.style(subtest.begin_s, subtest.end_s)) ";top:" (depth * ROW_PX + 1) "px" }
                    title=(title(subtest)) data-begin=(at(subtest.begin_s)) data-end=(at(subtest.end_s)) { (plain(&subtest.name)) }
            }
        } }
    }
}

fn title(span: &Span) -> String {
    plain(&format!(
        "{}: {:.2} s",
        span.name,
        span.end_s - span.begin_s
    ))
}
