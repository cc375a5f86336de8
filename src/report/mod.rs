//! What becomes of events: lines for people, files for later, a stream for programs.

mod drawing;
mod failures;
mod json;
mod junit;
mod lines;
mod output;
mod plain;
mod terminal;

use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;

use crate::event::{Event, Record};

pub use drawing::{Colours, Kind, Remark, draw};
pub use json::JsonDisplay;
pub use output::{Output, OutputError};
pub use plain::PlainDisplay;
pub use terminal::TerminalDisplay;

/// How much is shown of a run that goes well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    Normal,
    /// The consoles too.
    Consoles,
    /// The consoles and the builds' logs too.
    Everything,
}

impl Detail {
    /// What is shown after an event: scripts turn consoles on and off.
    fn after(self, event: &Event) -> Self {
        match (self, event) {
            (Self::Normal, Event::ConsolesShown { shown: true }) => Self::Consoles,
            (Self::Consoles, Event::ConsolesShown { shown: false }) => Self::Normal,
            _ => self,
        }
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
