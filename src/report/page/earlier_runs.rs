//! How a test has ended in earlier runs, and how long it took.

use maud::{Markup, html};

use super::{PageContext, class, moment, seconds};
use crate::history::{HistoryEntry, TestHistory};
use crate::model::outcome::TestResult;

/// How many are shown.
const SHOWN_RUNS: usize = 24;

/// The height of the lowest visible bar, in percent of the highest.
const LEAST_HEIGHT: f64 = 15.0;

/// The last of them, the newest last.
pub(super) struct EarlierRuns<'a>(Vec<&'a HistoryEntry>);

impl<'a> EarlierRuns<'a> {
    pub fn of(context: PageContext<'a>, test: &TestResult) -> Self {
        let history = context.history.of(&test.source, &test.attribute);
        let entries = history.map_or(&[][..], TestHistory::entries).iter();
        let earlier: Vec<_> = entries
            .filter(|entry| entry.run_unix_s < context.started_unix_s)
            .collect();
        Self(earlier[earlier.len().saturating_sub(SHOWN_RUNS)..].to_vec())
    }

    /// A bar for each: as high as it took long.
    pub fn picture(&self) -> Markup {
        if self.0.is_empty() {
            return html! {};
        }
        let outcomes: Vec<&str> = self.0.iter().map(|entry| entry.outcome.name()).collect();
        let durations = self.0.iter().map(|entry| entry.duration_s);
        let longest_s = durations.fold(0.001, f64::max);
        let height = |entry: &HistoryEntry| {
            let percent = entry.duration_s / longest_s * 100.0;
            format!("height:{:.0}%", percent.max(LEAST_HEIGHT))
        };
        html! {
            span.runs role="img" aria-label={ "earlier runs, the newest last: " (outcomes.join(", ")) } {
                @for entry in &self.0 {
                    i.(class(entry.outcome)) style=(height(entry)) title=(described(entry)) {}
                }
            }
        }
    }

    /// Returns the runs as a table, the newest first.
    pub fn table(&self) -> Markup {
        if self.0.is_empty() {
            return html! {};
        }
        html! {
            details.earlier {
                summary { "Earlier runs (" (self.0.len()) ")" }
                table {
                    thead { tr { th { "when" } th { "outcome" } th { "duration" } th { "attempts" } } }
                    tbody {
                        @for entry in self.0.iter().rev() {
                            tr {
                                td { (moment(entry.run_unix_s)) }
                                td.(class(entry.outcome)) { (entry.outcome.name()) }
                                td { (seconds(entry.duration_s)) }
                                td { (entry.attempts) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn described(entry: &HistoryEntry) -> String {
    let (when, outcome) = (moment(entry.run_unix_s), entry.outcome.name());
    format!("{when}: {outcome}, {}", seconds(entry.duration_s))
}
