//! What becomes of events: lines for people, files for later, a stream for programs.
//!
//! May import `model`, `event_bus`, the output folder's layout, and `repl` for the place above a prompt.

mod drawing;
mod failures;
mod json;
mod junit;
mod lines;
mod output;
mod output_error;
mod output_stream;
mod plain;
mod sanitise;
mod tag;
mod terminal;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use crate::event_bus::{Events, Message};

use crate::model::event::{Event, Level, Record};

pub use drawing::{Annotation, AnnotationKind, Colours, draw};
pub use json::JsonDisplay;
pub use lines::{age, word};
pub use output::Output;
pub use output_error::OutputError;
pub use plain::{LogReader, PlainDisplay, VERDICT_MARK};
pub use sanitise::sanitise;
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

    /// There is nothing more to take.
    ///
    /// # Errors
    /// When something could not be written.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many bytes of consoles and build logs may wait for a display whose
/// reader is slow. Beyond it they are in the output folder alone.
const MOST_WAITING_BYTES: usize = 64 << 20;

/// A run whose events go to the output folder and to a display.
///
/// The files come first, on a thread of their own: no reader of the display
/// can hold them up.
#[derive(Debug)]
pub struct Reports {
    pub events: Events,
    files: JoinHandle<Option<Output>>,
    display: JoinHandle<io::Result<()>>,
}

impl Reports {
    /// Starts to report on `display` and, if there is one, in `output`.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(display: Box<dyn Report>, output: Option<Output>) -> io::Result<Self> {
        let (sender, receiver) = channel();
        let (to_display, shown) = channel();
        let events = Events::new(sender);
        let waiting = events.waiting();
        let queued = Arc::new(AtomicUsize::default());
        let queue = DisplayQueue {
            sender: to_display,
            queued: queued.clone(),
            left_out: 0,
        };
        let files = thread::Builder::new()
            .name("files".to_owned())
            .spawn(move || write_files(&receiver, &waiting, output, queue))?;
        let display = thread::Builder::new()
            .name("display".to_owned())
            .spawn(move || show(&shown, &queued, display))?;
        Ok(Self {
            events,
            files,
            display,
        })
    }

    /// Ends the stream of events and waits until the files are whole; gives
    /// the output folder, and what is left to be shown.
    ///
    /// # Errors
    /// When a thread has panicked.
    pub fn end(self) -> io::Result<(Option<Output>, Showing)> {
        self.events.end();
        let output = self.files.join().map_err(|_| fault("files"))?;
        Ok((output, Showing(self.display)))
    }
}

/// A display that still has something to show.
#[derive(Debug)]
pub struct Showing(JoinHandle<io::Result<()>>);

impl Showing {
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits until all is shown, unless its reader has gone.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn finish(self) -> io::Result<()> {
        self.0.join().unwrap_or_else(|_| Err(fault("display")))
    }
}

fn fault(thread: &str) -> io::Error {
    io::Error::other(format!(
        "this is a fault in Snowglobe: the thread {thread} has panicked"
    ))
}

fn write_files(
    messages: &Receiver<Message>,
    waiting: &AtomicUsize,
    mut output: Option<Output>,
    mut queue: DisplayQueue,
) -> Option<Output> {
    for message in messages {
        let Message::Record(record) = message else {
            break;
        };
        waiting.fetch_sub(1, Ordering::Relaxed);
        if let Some(output) = &mut output {
            output.take(&record);
        }
        queue.pass(record);
    }
    output
}

fn show(
    records: &Receiver<Record>,
    queued: &AtomicUsize,
    mut display: Box<dyn Report>,
) -> io::Result<()> {
    for record in records {
        queued.fetch_sub(weight(&record.event), Ordering::Relaxed);
        display.take(&record);
    }
    display.finish()
}

/// Records on their way to a display.
struct DisplayQueue {
    sender: Sender<Record>,
    /// Bytes of what guests and builds have written.
    queued: Arc<AtomicUsize>,
    left_out: u64,
}

impl DisplayQueue {
    fn pass(&mut self, record: Record) {
        let bytes = weight(&record.event);
        if bytes > 0 && self.queued.load(Ordering::Relaxed) > MOST_WAITING_BYTES {
            self.left_out += 1;
            return;
        }
        if self.left_out > 0 {
            let text = format!(
                "{} lines of consoles and build logs are not shown, as the reader of this output is slow: the output folder has them all",
                std::mem::take(&mut self.left_out)
            );
            let note = Event::Note {
                machine: None,
                level: Level::Warning,
                text,
            };
            self.send(Record {
                time_s: record.time_s,
                event: note,
            });
        }
        self.queued.fetch_add(bytes, Ordering::Relaxed);
        self.send(record);
    }

    fn send(&self, record: Record) {
        // A display that has panicked says so at the end.
        let _ = self.sender.send(record);
    }
}

/// The bytes of an event that a guest or a build can make as many of as it likes.
fn weight(event: &Event) -> usize {
    match event {
        Event::Console { line, .. } | Event::BuildLog { line, .. } => line.len() + 1,
        _ => 0,
    }
}
