//! What becomes of events: lines for people, files for later, a stream for programs.

mod above;
mod drawing;
mod failures;
mod json;
mod junit;
mod lines;
mod output;
mod plain;
mod terminal;

use std::collections::BTreeSet;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;

use crate::event::{Event, Record};

pub use above::Above;
pub use drawing::{Colours, Kind, Remark, draw};
pub use json::JsonDisplay;
pub use lines::age;
pub use output::{Output, OutputError};
pub use plain::PlainDisplay;
pub use terminal::TerminalDisplay;

/// How much is shown of a run that goes well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    Normal,
    /// The consoles and the builds' logs too.
    Everything,
}

/// What is shown at a time: scripts turn consoles on and off.
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
        match event {
            Event::ConsolesShown {
                machine: None,
                shown,
            } => self.consoles = *shown,
            Event::ConsolesShown {
                machine: Some(machine),
                shown: true,
            } => {
                self.followed.insert(machine.clone());
            }
            Event::ConsolesShown {
                machine: Some(machine),
                shown: false,
            } => {
                self.followed.remove(machine);
            }
            _ => {}
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
}

/// Passes all events to `reports`, on a thread of its own, until the last
/// sender is gone.
///
/// # Errors
/// When the system has no thread to give.
pub fn spawn(
    events: Receiver<Record>,
    mut reports: Vec<Box<dyn Report>>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("reports".to_owned())
        .spawn(move || {
            for record in events {
                for report in &mut reports {
                    report.take(&record);
                }
            }
        })
}
