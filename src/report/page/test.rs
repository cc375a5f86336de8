//! The section of a test: its verdict, its earlier runs, its failures, and its attempts.

use maud::{Markup, html};

use super::attempt::attempt_view;
use super::earlier_runs::EarlierRuns;
use super::failure_view::failure_view;
use super::{PageContext, class, encoded, kind, link, plain, seconds};
use crate::model::outcome::{Attempt, Outcome, TestResult};
use crate::output_folder::EVENTS;
use crate::report::recorded::{EventsFault, RecordedAttempt, RecordedTest};

/// Most failed tests that are open at first; further ones are closed.
const MOST_OPEN: usize = 20;

/// All that is known of a test.
pub(super) fn section(
    context: PageContext<'_>,
    number: usize,
    test: &TestResult,
    recorded: &RecordedTest,
) -> Markup {
    let body = html! {
            @for (index, attempt) in test.attempts.iter().enumerate() {
                (attempt_section(context, &format!("{number}-{index}"), test, recorded, (attempt, index)))
            }
    };
    frame(context, number, test, &body)
}

/// A test of a run that is too large to show all of it: its failures alone.
pub(super) fn brief_section(
    context: PageContext<'_>,
    number: usize,
    test: &TestResult,
    recorded: &RecordedTest,
) -> Markup {
    let last = test.attempts.last().filter(|_| !test.outcome.is_good());
    let recorded = last.and_then(|attempt| recorded.attempt(attempt));
    let failures = recorded.map(|recorded| &recorded.timeline.failures);
    let body = html! {
            p { "The run is too large to show all of it here." }
            @for failure in failures.into_iter().flatten() { (failure_view(failure)) }
            @for attempt in &test.attempts {
                @if let Some(link) = link(context, &attempt.folder) {
                    p { a href=(link) { "output folder" } }
                }
            }
    };
    frame(context, number, test, &body)
}

fn frame(context: PageContext<'_>, number: usize, test: &TestResult, body: &Markup) -> Markup {
    let id = id_of(&test.label);
    let needs_attention =
        !test.outcome.is_good() && test.outcome != Outcome::LeftOut && !test.is_excused();
    let is_open = context.is_alone || needs_attention && number < MOST_OPEN;
    let earlier = EarlierRuns::of(context, test);
    html! {
        details.test.(class(test.outcome)) #(id) data-label=(plain(&test.label)) data-outcome=(kind(test)) data-duration=(test.duration_s) open[is_open] {
            summary {
                span.outcome { (test.outcome.name()) }
                span.label { (plain(&test.label)) }
                @for (holds, mark) in [(test.slow, "slow"), (test.leaky, "leaves processes"), (test.quarantine.is_some(), "in quarantine")] {
                    @if holds { span.mark { (mark) } }
                }
                (earlier.picture())
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
                (earlier.table())
                p.source {
                    (plain(&test.source))
                    @if !test.attribute.is_empty() { ", " code { (plain(&test.attribute)) } }
                    @if let Some(backend) = &test.backend { ", " (plain(backend)) }
                    ", " a href={ "#" (encoded(&id)) } { "link to this test" }
                }
            }
        }
    }
}

/// The name of a test's place on the page: it stays the same from run to run.
pub(super) fn id_of(label: &str) -> String {
    let label = plain(label);
    let words: Vec<&str> = label.split_whitespace().collect();
    format!("test-{}", words.join("_"))
}

fn attempt_section(
    context: PageContext<'_>,
    id: &str,
    test: &TestResult,
    recorded: &RecordedTest,
    (attempt, index): (&Attempt, usize),
) -> Markup {
    let outcome = Outcome::of_verdict(attempt.verdict).name();
    let head =
        html! { h3 { "Attempt " (index + 1) ": " (outcome) ", " (seconds(attempt.duration_s)) } };
    let later = &test.attempts[index + 1..];
    if later.iter().any(|other| other.folder == attempt.folder) {
        return html! {
            section.attempt {
                (head)
                p.note { "A later attempt has replaced its output." }
            }
        };
    }
    let folder = context.folder.join(&attempt.folder);
    let Some(RecordedAttempt { timeline, fault }) = recorded.attempt(attempt) else {
        return head;
    };
    html! {
        section.attempt {
            @if test.attempts.len() > 1 { (head) }
            @if let Some(fault) = fault { p.note { (plain(&described(fault))) } }
            @else if timeline.verdict.is_none() { p.note { (EVENTS) " ends before the test does." } }
            @for step in timeline.ended_at() { p.note { "It was ended at: " (plain(step)) } }
            @for failure in &timeline.failures { (failure_view(failure)) }
            (attempt_view(context, id, &folder, timeline))
        }
    }
}

/// Why there is less to see than there was.
fn described(fault: &EventsFault) -> String {
    match fault {
        EventsFault::Unreadable(error) => {
            format!("{EVENTS} cannot be read ({error}): only the verdict is known.")
        }
        EventsFault::BrokenAt(line) => {
            format!("{EVENTS} is broken at line {line}: what came after is not known.")
        }
    }
}
