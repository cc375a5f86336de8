//! Plain lines on standard output, for files, pipes and continuous integration.

use std::io::{self, Write};

use super::lines::{lines, short_name};
use super::{Detail, Report, View};
use crate::event::{Event, Record};

/// Writes to standard output.
#[derive(Debug)]
pub struct PlainDisplay {
    view: View,
    done: u64,
    expected: u64,
}

impl PlainDisplay {
    #[must_use]
    pub fn new(detail: Detail) -> Self {
        Self {
            view: View::new(detail),
            done: 0,
            expected: 0,
        }
    }
}

/// Whether it is the script or the manifest, which each edit makes anew: texts
/// that nobody waits for.
fn is_bookkeeping(derivation: &str) -> bool {
    let name = short_name(derivation);
    ["test-script-", "test-manifest-"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

impl Report for PlainDisplay {
    fn take(&mut self, record: &Record) {
        self.view.follow(&record.event);
        let lines = match &record.event {
            Event::BuildProgress { done, expected } => {
                (self.done, self.expected) = (*done, *expected);
                return;
            }
            Event::BuildStarted { derivation } if is_bookkeeping(derivation) => return,
            Event::BuildStarted { derivation } => vec![format!(
                "building {} ({} of {} done)",
                short_name(derivation),
                self.done,
                self.expected
            )],
            event => lines(event, &self.view),
        };
        let mut output = io::stdout().lock();
        for line in lines {
            // Whoever reads may leave early; the run goes on.
            let _ = writeln!(output, "{line}");
        }
        let _ = output.flush();
    }
}
