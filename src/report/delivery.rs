//! Events on their way from a test to the files of its output folder and to a display.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::{Output, Report};
use crate::event_bus::{Events, Message};
use crate::model::event::{Event, Level, Record, round};

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
    display: Showing,
}

impl Reports {
    /// Starts to report on `display` and, if there is one, in `output`.
    ///
    /// # Errors
    /// Returns an error if the system has no thread to give.
    pub fn start(display: Box<dyn Report>, output: Option<Output>) -> io::Result<Self> {
        let (shared, showing) = SharedDisplay::start(display)?;
        Self::with(shared.queue(None), showing, output)
    }

    /// Starts to report on a test of a run, on the display of the run and in `output`. The events have a label if the run
    /// has several tests.
    ///
    /// # Errors
    /// Returns an error if the system has no thread to give.
    pub fn of_one(
        display: &SharedDisplay,
        label: Option<&str>,
        output: Option<Output>,
    ) -> io::Result<Self> {
        let queue = display.queue(label.map(str::to_owned));
        Self::with(queue, Showing(None), output)
    }

    fn with(queue: DisplayQueue, display: Showing, output: Option<Output>) -> io::Result<Self> {
        let (sender, receiver) = channel();
        let events = Events::new(sender);
        let waiting = events.waiting();
        let files = thread::Builder::new()
            .name("files".to_owned())
            .spawn(move || write_files(&receiver, &waiting, output, queue))?;
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
    /// Returns an error if a thread has panicked.
    pub fn end(self) -> io::Result<(Option<Output>, Showing)> {
        self.events.end();
        let output = self.files.join().map_err(|_| fault("files"))?;
        Ok((output, self.display))
    }
}

/// A display of a run, which its tests share. It ends when all clones are gone.
#[derive(Debug, Clone)]
pub struct SharedDisplay {
    sender: Sender<Record>,
    /// Bytes of what guests and builds have written that wait to be shown.
    queued: Arc<AtomicUsize>,
    start: Instant,
}

impl SharedDisplay {
    /// Starts to show on `display`, on a thread of its own.
    ///
    /// # Errors
    /// Returns an error if the system has no thread to give.
    pub fn start(display: Box<dyn Report>) -> io::Result<(Self, Showing)> {
        let (sender, shown) = channel();
        let queued = Arc::new(AtomicUsize::default());
        let shared = Self {
            sender,
            queued: queued.clone(),
            start: Instant::now(),
        };
        let thread = thread::Builder::new()
            .name("display".to_owned())
            .spawn(move || show(&shown, &queued, display))?;
        Ok((shared, Showing(Some(thread))))
    }

    /// Shows an event of the run, or of one of its tests.
    pub fn emit(&self, label: Option<&str>, event: Event) {
        let record = Record {
            time_s: round(self.start.elapsed().as_secs_f64()),
            label: label.map(str::to_owned),
            event,
        };
        // A display that has panicked says so at the end.
        let _ = self.sender.send(record);
    }

    /// Seconds since the start of the run.
    #[must_use]
    pub fn time_s(&self) -> f64 {
        round(self.start.elapsed().as_secs_f64())
    }

    fn queue(&self, label: Option<String>) -> DisplayQueue {
        DisplayQueue {
            sender: self.sender.clone(),
            queued: self.queued.clone(),
            left_out: 0,
            offset_s: if label.is_some() { self.time_s() } else { 0.0 },
            label,
        }
    }
}

/// A display that still has something to show; None if it is the display of others, too.
#[derive(Debug)]
pub struct Showing(Option<JoinHandle<io::Result<()>>>);

impl Showing {
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until all is shown, unless its reader has gone.
    ///
    /// # Errors
    /// Returns an error if it could not be written.
    pub fn finish(self) -> io::Result<()> {
        let Some(thread) = self.0 else {
            return Ok(());
        };
        thread.join().unwrap_or_else(|_| Err(fault("display")))
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
    /// The label of a test of several.
    label: Option<String>,
    /// When the test has started, in seconds after the start of the run.
    offset_s: f64,
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
            self.send(Record {
                label: None,
                time_s: record.time_s,
                event: Event::note(Level::Warning, text),
            });
        }
        self.queued.fetch_add(bytes, Ordering::Relaxed);
        self.send(record);
    }

    fn send(&self, mut record: Record) {
        record.label.clone_from(&self.label);
        record.time_s = round(record.time_s + self.offset_s);
        // A display that has panicked says so at the end.
        let _ = self.sender.send(record);
    }
}

/// The bytes of an event that a guest or a build can make as many of as it likes.
fn weight(event: &Event) -> usize {
    match event {
        Event::Console { line, .. } | Event::BuildLog { line, .. } => line.len() + 1,
        Event::BuildStarted { .. }
        | Event::BuildFinished { .. }
        | Event::BuildProgress { .. }
        | Event::Begun { .. }
        | Event::TestStarted { .. }
        | Event::MachineStarted { .. }
        | Event::MachineReady { .. }
        | Event::MachineStopped { .. }
        | Event::StepStarted { .. }
        | Event::StepFinished { .. }
        | Event::Output { .. }
        | Event::Note { .. }
        | Event::SubtestStarted { .. }
        | Event::SubtestFinished { .. }
        | Event::SubtestSkipped { .. }
        | Event::ConsolesShown { .. }
        | Event::Prompting
        | Event::CallFailed { .. }
        | Event::TerminalAttached { .. }
        | Event::Called { .. }
        | Event::CallEnded { .. }
        | Event::ScriptSource { .. }
        | Event::ScreenTaken { .. }
        | Event::CheckpointTaken { .. }
        | Event::Rewound { .. }
        | Event::FaultStarted { .. }
        | Event::FaultFinished { .. }
        | Event::Seeded { .. }
        | Event::CaptureSaved { .. }
        | Event::FileSaved { .. }
        | Event::OutputLost { .. }
        | Event::Verified { .. }
        | Event::Watching { .. }
        | Event::Changed
        | Event::RunStarted { .. }
        | Event::TestsFound { .. }
        | Event::Retrying { .. }
        | Event::Slow { .. }
        | Event::TestEnded { .. }
        | Event::ReportWritten { .. }
        | Event::RunFinished { .. }
        | Event::TestFinished { .. } => 0,
    }
}
