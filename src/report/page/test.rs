//! The section of a test: its verdict, its earlier runs, its failures, and its attempts.

use std::path::Path;

use maud::{Markup, html};

use super::attempt::attempt_view;
use super::timeline::Timeline;
use super::{PageContext, class, link, moment, plain, seconds};
use crate::history::TestHistory;
use crate::model::outcome::{Attempt, TestResult};
use crate::report::failures::report_of;
use crate::report::recorded::for_each_event;

/// How many earlier runs are shown.
const SHOWN_RUNS: usize = 24;

/// All that is known of a test.
pub(super) fn section(context: PageContext<'_>, number: usize, test: &TestResult) -> Markup {
    let body = html! {
            @for (index, attempt) in test.attempts.iter().enumerate() {
                (attempt_section(context, &format!("{number}-{index}"), test, attempt, index))
            }
    };
    frame(context, number, test, &body)
}

/// A test that has passed, in a run that is too large to show all of it.
pub(super) fn brief_section(context: PageContext<'_>, number: usize, test: &TestResult) -> Markup {
    let body = html! {
            p { "The run is too large to show all of it here." }
            @for attempt in &test.attempts {
                @if let Some(link) = link(context, &attempt.folder) {
                    p { a href=(link) { "output folder" } }
                }
            }
    };
    frame(context, number, test, &body)
}

fn frame(context: PageContext<'_>, number: usize, test: &TestResult, body: &Markup) -> Markup {
    let outcome = class(test.outcome);
    let is_open = context.is_alone || !test.outcome.is_good() && test.quarantine.is_none();
    html! {
        details.test.(outcome) #{ "test-" (number) } data-label=(plain(&test.label)) data-outcome=(outcome) open[is_open] {
            summary {
                span.outcome { (test.outcome.name()) }
                span.label { (plain(&test.label)) }
                @for (holds, mark) in [(test.slow, "slow"), (test.leaky, "leaves processes"), (test.quarantine.is_some(), "in quarantine")] {
                    @if holds { span.mark { (mark) } }
                }
                (earlier_runs(context.history.of(&test.source, &test.attribute)))
                span.duration { (seconds(test.duration_s)) }
            }
            div.body {
                @if let Some(quarantine) = &test.quarantine {
                    p.note {
                        "In quarantine: " (plain(&quarantine.reason))
                        @if let Some(day) = &quarantine.until { ", until " (day) }
                    }
                }
                @if let Some(message) = &test.message { pre.failure { (plain(message)) } }
                (body)
                p.source { (plain(&test.source)) @if !test.attribute.is_empty() { ", " code { (plain(&test.attribute)) } } }
            }
        }
    }
}

/// A square for each earlier run, the newest last.
fn earlier_runs(history: Option<&TestHistory>) -> Markup {
    let entries = history.map_or(&[][..], TestHistory::entries);
    let last = &entries[entries.len().saturating_sub(SHOWN_RUNS)..];
    html! {
        span.runs aria-label="earlier runs" {
            @for entry in last {
                i.(class(entry.outcome)) title={ (moment(entry.run_unix_s)) ": " (entry.outcome.name()) ", " (seconds(entry.duration_s)) } {}
            }
        }
    }
}

fn attempt_section(
    context: PageContext<'_>,
    id: &str,
    test: &TestResult,
    attempt: &Attempt,
    index: usize,
) -> Markup {
    let folder = context.folder.join(&attempt.folder);
    let timeline = read_timeline(&folder);
    html! {
        section.attempt {
            @if test.attempts.len() > 1 { h3 { "Attempt " (index + 1) } }
            @for failure in &timeline.failures { pre.failure { (report_of(failure)) } }
            (attempt_view(context, id, &folder, &timeline))
        }
    }
}

fn read_timeline(folder: &Path) -> Timeline {
    let mut timeline = Timeline::default();
    // Without events there is nothing to show.
    let _ = for_each_event(folder, |record| timeline.take(record));
    timeline
}
