//! Consumers of events: lines for people, files for later, a stream for programs.

mod delivery;
mod drawing;
mod failures;
mod github;
mod json;
mod junit;
mod lines;
mod merge;
mod output;
mod output_error;
mod output_stream;
mod page;
mod plain;
mod recorded;
mod run_folder;
mod sanitise;
mod summary;
mod tag;
mod terminal;
mod texts;

use std::collections::BTreeSet;
use std::io;

use crate::model::event::{Event, Record};

pub use delivery::{Reports, SharedDisplay, Showing};
pub use drawing::{Annotation, AnnotationKind, Colours, draw};
pub use github::{RunFailures, annotations, is_in_workflow};
pub use json::JsonDisplay;
pub use lines::{age, word};
pub use merge::{MergeError, merge_results, read_results};
pub use output::Output;
pub use output_error::OutputError;
pub use output_stream::OutputStream;
pub use plain::{LogReader, PlainDisplay, VERDICT_MARK};
pub use run_folder::{RunFolder, WrittenReports, write_reports};
pub use sanitise::sanitise;
pub use terminal::{TerminalDisplay, make_room_when_suspended, progress_bars};

/// How much is shown of a run that goes well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    Normal,
    /// The consoles and the builds' logs too.
    Everything,
}

/// The consoles that are shown: scripts turn them on and off.
#[derive(Debug)]
struct View {
    detail: Detail,
    consoles: bool,
    /// Machines whose consoles are shown, whatever is of the others.
    followed: BTreeSet<String>,
}

impl View {
    fn new(detail: Detail) -> Self {
        Self {
            detail,
            consoles: false,
            followed: BTreeSet::new(),
        }
    }

    fn follow(&mut self, event: &Event) {
        if matches!(event, Event::TestStarted { .. }) {
            *self = Self::new(self.detail);
        }
        let Event::ConsolesShown { machine, shown } = event else {
            return;
        };
        match (machine, shown) {
            (None, shown) => self.consoles = *shown,
            (Some(machine), true) => {
                self.followed.insert(machine.clone());
            }
            (Some(machine), false) => {
                self.followed.remove(machine);
            }
        }
    }

    fn shows_everything(&self) -> bool {
        self.detail == Detail::Everything
    }

    fn shows_console(&self, machine: &str) -> bool {
        self.shows_everything() || self.consoles || self.followed.contains(machine)
    }
}

/// One consumer of events.
pub trait Report: Send {
    fn take(&mut self, record: &Record);

    /// There is nothing more to take.
    ///
    /// # Errors
    /// Returns an error if something could not be written.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}
