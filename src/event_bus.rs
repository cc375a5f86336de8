//! Where events are emitted, and how they reach their readers.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::model::event::{Event, Failure, Level, Record, about, round};

/// A message to the readers of events.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    Record(Record),
    /// The run is over; events of threads that it has left behind are of no use.
    End,
}

/// Events that are not read yet: a guest that writes faster than the disk
/// waits.
const MOST_WAITING: usize = 10_000;

/// How often a writer looks whether it may go on.
const BACKLOG_PAUSE: Duration = Duration::from_millis(5);

/// A step that has begun.
#[derive(Debug)]
struct OpenStep {
    text: String,
    begin: Instant,
}

/// Where events go. Clones lead to the same place.
#[derive(Debug, Clone)]
pub struct Events {
    /// The moment from which times count, of the clock of [`monotonic_ns`].
    start_ns: i64,
    sender: Sender<Message>,
    /// How many are sent and not read.
    waiting: Arc<AtomicUsize>,
    steps: Arc<Mutex<BTreeMap<u64, OpenStep>>>,
    /// Saves the texts that are too long for events.
    keeper: Arc<OnceLock<TextKeeper>>,
    /// Further readers, who may come and go.
    watchers: Arc<Mutex<Vec<mpsc::Sender<Record>>>>,
    /// Events that are held back until the starting point is known.
    held: Arc<Mutex<Option<Vec<Record>>>>,
}

impl Events {
    #[must_use]
    pub fn new(sender: Sender<Message>) -> Self {
        Self::since(monotonic_ns(), sender)
    }

    /// Events whose times count from a moment of [`monotonic_ns`], which another process may have taken.
    #[must_use]
    pub fn since(start_ns: i64, sender: Sender<Message>) -> Self {
        Self {
            start_ns,
            sender,
            waiting: Arc::default(),
            steps: Arc::default(),
            keeper: Arc::default(),
            watchers: Arc::default(),
            held: Arc::default(),
        }
    }

    /// Saves texts that are too long for events by `save`, which takes a file's name and its content.
    pub fn keep_long_texts(
        &self,
        save: impl Fn(&str, &str) -> Option<PathBuf> + Send + Sync + 'static,
    ) {
        let _ = self.keeper.set(TextKeeper::new(Box::new(save)));
    }

    /// Cuts the long texts of a failure before it is emitted.
    pub fn bound_failure(&self, failure: &mut Failure) {
        failure.bound(&mut |stem, end, text| self.keep(stem, end, text));
    }

    /// Saves a text that is too long for events; returns the path of its file, or `None` if it could not be saved.
    #[must_use]
    pub fn keep(&self, stem: &str, end: &str, text: &str) -> Option<PathBuf> {
        self.keeper.get()?.keep(stem, end, text)
    }

    /// Holds events back until [`Events::release`].
    pub fn hold_back(&self) {
        lock(&self.held).get_or_insert_default();
    }

    /// Emits this event, and then all that were held back, if any were.
    pub fn release(&self, first: Event) {
        let mut held = lock(&self.held);
        let Some(records) = held.take() else { return };
        let first = Record {
            label: None,
            time_s: records
                .first()
                .map_or_else(|| self.time_s(), |first| first.time_s),
            event: first,
        };
        for record in std::iter::once(first).chain(records) {
            self.send(record);
        }
    }

    /// Returns all events from now on, for as long as they are read: one who is thousands of events behind gets no more.
    #[must_use]
    pub fn watch(&self) -> mpsc::Receiver<Record> {
        let (watcher, records) = mpsc::channel(MOST_WAITING);
        lock(&self.watchers).push(watcher);
        records
    }

    fn send(&self, record: Record) {
        lock(&self.watchers).retain(|watcher| watcher.try_send(record.clone()).is_ok());
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if self.sender.send(Message::Record(record)).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The number of events that are sent and not read: the reader counts it down.
    #[must_use]
    pub fn waiting(&self) -> Arc<AtomicUsize> {
        self.waiting.clone()
    }

    /// Waits while too many events are not read yet.
    pub async fn ready(&self) {
        while self.waiting.load(Ordering::Relaxed) > MOST_WAITING {
            tokio::time::sleep(BACKLOG_PAUSE).await;
        }
    }

    /// Ends the stream, whatever else still has a sender.
    pub fn end(&self) {
        let _ = self.sender.send(Message::End);
    }

    /// Forgets what was held.
    pub fn forget(&self) {
        lock(&self.held).take();
    }

    fn time_s(&self) -> f64 {
        let elapsed = monotonic_ns().saturating_sub(self.start_ns);
        let elapsed = u64::try_from(elapsed).unwrap_or_default();
        round(Duration::from_nanos(elapsed).as_secs_f64())
    }

    /// The moment from which times count.
    #[must_use]
    pub fn start_ns(&self) -> i64 {
        self.start_ns
    }

    /// Passes an event of another process on, with the time that it has there.
    pub fn pass(&self, record: Record) {
        self.note_step(&record.event);
        match lock(&self.held).as_mut() {
            Some(held) => held.push(record),
            None => self.send(record),
        }
    }

    /// Describes where the script is: at the steps that have begun and not ended, and how long each has lasted.
    #[must_use]
    pub fn whereabouts(&self) -> String {
        let steps = lock(&self.steps);
        let steps = steps.values().map(|step| {
            let lasted = step.begin.elapsed().as_secs_f64();
            format!("{} (for {lasted:.1} s)", step.text)
        });
        let steps: Vec<String> = steps.collect();
        if steps.is_empty() {
            "no machine was being waited for".to_owned()
        } else {
            format!("it was at: {}", steps.join("; "))
        }
    }

    /// Passes an event on. After the last reader has gone it is dropped.
    pub fn emit(&self, mut event: Event) {
        let kept = event.bound(&mut |stem, end, text| self.keep(stem, end, text));
        self.pass(Record {
            label: None,
            time_s: self.time_s(),
            event,
        });
        for path in kept {
            self.emit(Event::FileSaved { path });
        }
    }

    fn note_step(&self, event: &Event) {
        let mut steps = lock(&self.steps);
        match event {
            Event::StepStarted { id, machine, text } => {
                let step = OpenStep {
                    text: about(machine.as_deref(), text),
                    begin: Instant::now(),
                };
                steps.insert(*id, step);
            }
            Event::StepFinished { id, .. } => {
                steps.remove(id);
            }
            _ => {}
        }
    }

    /// A note without a machine.
    pub fn note(&self, level: Level, text: impl Into<String>) {
        self.emit(Event::note(level, text));
    }
}

/// Nanoseconds of the clock that only goes forward: one for all processes of the host, as Python's
/// `time.monotonic_ns`.
#[must_use]
pub fn monotonic_ns() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(now.tv_nsec)
}

/// Saves a text in a file of this name.
type SaveText = Box<dyn Fn(&str, &str) -> Option<PathBuf> + Send + Sync>;

/// Saves long texts, each once.
struct TextKeeper {
    save: SaveText,
    saved: Mutex<SavedTexts>,
}

/// The texts that are saved.
#[derive(Default)]
struct SavedTexts {
    /// Their files, by a hash of the text.
    files: HashMap<[u8; 32], PathBuf>,
    /// How many there are of each kind.
    counts: HashMap<String, u32>,
}

/// How many long texts of a kind are saved: a script may print as many as it likes.
const MOST_TEXTS: u32 = 100;

impl TextKeeper {
    fn new(save: SaveText) -> Self {
        let saved = Mutex::default();
        Self { save, saved }
    }

    /// Saves a text that is too long for events; returns the path of its file, or `None` if it could not be saved.
    #[must_use]
    pub fn keep(&self, stem: &str, end: &str, text: &str) -> Option<PathBuf> {
        let hash = *blake3::hash(text.as_bytes()).as_bytes();
        let mut saved = lock(&self.saved);
        let SavedTexts { files, counts } = &mut *saved;
        if let Some(path) = files.get(&hash) {
            return Some(path.clone());
        }
        let kind = format!("{stem}.{end}");
        let count = counts.entry(kind.clone()).or_default();
        if *count == MOST_TEXTS {
            return None;
        }
        *count += 1;
        let name = match *count {
            1 => kind,
            number => format!("{stem}-{number}.{end}"),
        };
        let path = (self.save)(&name, text)?;
        files.insert(hash, path.clone());
        Some(path)
    }
}

impl fmt::Debug for TextKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextKeeper").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
