//! The serial console of a machine: whole in a file, its end in memory, an event a line.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use super::FailureWatch;
use crate::decoder::{Decoder, unfinished};
use crate::event_bus::Events;
use crate::model::event::{Event, Level};
use crate::output_folder;

/// A longer line becomes several events.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// How much of a console stays in memory, and how much more there may be
/// before the rest is dropped.
const RETAINED_BYTES: usize = if cfg!(test) { 64 << 10 } else { 16 << 20 };
const SURPLUS_BYTES: usize = RETAINED_BYTES / 4;

/// The part of a console that is in memory.
#[derive(Debug, Default)]
struct Retained {
    text: String,
    /// How many bytes came before it.
    dropped: usize,
    decoder: Decoder,
}

impl Retained {
    fn end(&self) -> usize {
        self.dropped + self.text.len()
    }
}

/// Clones are the same console. It outlives restarts of its machine.
/// Positions are bytes since the console's first.
#[derive(Debug, Clone)]
pub struct Console {
    machine: String,
    events: Events,
    failure_watch: FailureWatch,
    retained: Arc<Mutex<Retained>>,
    length: Arc<watch::Sender<usize>>,
}

impl Console {
    #[must_use]
    pub fn new(machine: &str, events: Events, failure_watch: FailureWatch) -> Self {
        Self {
            machine: machine.to_owned(),
            events,
            failure_watch,
            retained: Arc::default(),
            length: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Reads `source` to its end, appending to `path` as it comes. If the file
    /// cannot be written, the guest is followed all the same.
    pub async fn follow(&self, source: impl AsyncRead + Unpin, path: &Path) {
        let mut file = self.written(path, open(path));
        let mut source = source;
        let mut buffer = [0; 8192];
        let mut line = Vec::new();
        loop {
            let length = source.read(&mut buffer).await.unwrap_or(0);
            if length == 0 {
                break;
            }
            let bytes = &buffer[..length];
            if let Some(open) = &mut file {
                let written = append(open, bytes).await;
                if self.written(path, written).is_none() {
                    file = None;
                }
            }
            self.append(bytes);
            for byte in bytes {
                if *byte == b'\n' {
                    self.emit(&line);
                    line.clear();
                } else if line.len() >= MAX_LINE_BYTES {
                    // The first part of a character belongs to the next line.
                    let begun = line.split_off(line.len() - unfinished(&line));
                    self.emit(&line);
                    line = begun;
                }
                if *byte != b'\n' {
                    line.push(*byte);
                }
            }
            // The guest waits, as on a real serial line.
            self.events.ready().await;
        }
        if !line.is_empty() {
            self.emit(&line);
        }
        // A machine that is started again begins anew.
        let rest = self.retained().decoder.finish();
        self.retain(&rest);
    }

    /// Starts with what an earlier run has saved of it, in memory and in `path`.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or written.
    pub async fn recall(&self, saved: &Path, path: &Path) -> io::Result<()> {
        let bytes = match tokio::fs::read(saved).await {
            // The machine had not been started.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        append(&mut open(path)?, &bytes).await?;
        self.append(&bytes);
        let rest = self.retained().decoder.finish();
        self.retain(&rest);
        Ok(())
    }

    /// Everything in memory from `position` on, and the position of its end.
    #[must_use]
    pub fn since(&self, position: usize) -> (String, usize) {
        let retained = self.retained();
        let from = retained
            .text
            .floor_char_boundary(position.saturating_sub(retained.dropped));
        (retained.text[from..].to_owned(), retained.end())
    }

    /// Ends when the console is longer than `position` bytes.
    pub async fn longer_than(&self, position: usize) {
        let mut length = self.length.subscribe();
        // The sender is part of this console: it cannot be gone.
        let _ = length.wait_for(|length| *length > position).await;
    }

    /// The last lines, at most `count`.
    #[must_use]
    pub fn tail(&self, count: usize) -> Vec<String> {
        let retained = self.retained();
        let lines = retained.text.lines().rev().map(str::trim_end);
        let mut tail: Vec<String> = lines
            .filter(|line| !line.is_empty())
            .take(count)
            .map(str::to_owned)
            .collect();
        tail.reverse();
        tail
    }

    /// The last line that holds `part`, from there on.
    #[must_use]
    pub fn last_line_with(&self, part: &str) -> Option<String> {
        let retained = self.retained();
        retained.text.lines().rev().find_map(|line| {
            line.find(part)
                .map(|from| line[from..].trim_end().to_owned())
        })
    }

    fn append(&self, bytes: &[u8]) {
        let text = self.retained().decoder.push(bytes);
        self.retain(&text);
    }

    fn retain(&self, text: &str) {
        let mut retained = self.retained();
        retained.text.push_str(text);
        let is_first = retained.dropped == 0;
        let is_long = retained.text.len() > RETAINED_BYTES + SURPLUS_BYTES;
        if is_long {
            let surplus = retained.text.len() - RETAINED_BYTES;
            let surplus = retained.text.floor_char_boundary(surplus);
            retained.text.drain(..surplus);
            retained.dropped += surplus;
        }
        let length = retained.end();
        drop(retained);
        self.length.send_replace(length);
        if is_long && is_first {
            self.events.emit(Event::Note {
                machine: Some(self.machine.clone()),
                level: Level::Warning,
                text: format!(
                    "the console is long: the script sees its last {} MiB, the file has all of it",
                    RETAINED_BYTES >> 20
                ),
            });
        }
    }

    fn retained(&self) -> MutexGuard<'_, Retained> {
        self.retained.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn emit(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        self.failure_watch.look_at(&self.machine, &line);
        self.events.emit(Event::Console {
            machine: self.machine.clone(),
            line: line.trim_end_matches('\r').to_owned(),
        });
    }

    /// Returns the result of a write. An error is emitted as an event, and `None` is returned.
    fn written<T>(&self, path: &Path, result: io::Result<T>) -> Option<T> {
        result
            .inspect_err(|error| {
                self.events.emit(Event::OutputLost {
                    path: path.to_owned(),
                    reason: error.to_string(),
                });
            })
            .ok()
    }
}

/// A link in the place of the file leads nowhere.
fn open(path: &Path) -> io::Result<File> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default();
    let file = output_folder::open(folder)?.append_to(name)?;
    Ok(File::from_std(file))
}

async fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes).await?;
    file.flush().await
}

#[cfg(test)]
mod tests {
    use super::super::FaultReporter;
    use super::*;
    use crate::event_bus::Message;
    use crate::model::event::Record;

    fn console() -> (Console, std::sync::mpsc::Receiver<Message>) {
        let (sender, receiver) = std::sync::mpsc::channel();
        let (faults, _) = tokio::sync::mpsc::unbounded_channel();
        let failure_watch = FailureWatch::new("", FaultReporter(faults));
        (
            Console::new("m", Events::new(sender), failure_watch),
            receiver,
        )
    }

    /// As a serial line brings it.
    #[tokio::test]
    async fn a_character_may_come_byte_by_byte() {
        let folder = tempfile::tempdir().unwrap();
        let (console, messages) = console();
        let (mut guest, host) = tokio::io::duplex(1);
        let text = "λ → 🚀\n";
        let writing = async {
            guest.write_all(text.as_bytes()).await.unwrap();
            drop(guest);
        };
        let path = folder.path().join("log");
        tokio::join!(writing, console.follow(host, &path));
        assert_eq!(console.since(0).0, text);
        let Ok(Message::Record(Record {
            event: Event::Console { line, .. },
            ..
        })) = messages.try_recv()
        else {
            panic!("no line");
        };
        assert_eq!(line, "λ → 🚀");
    }

    #[tokio::test]
    async fn the_file_has_every_byte_and_each_line_is_an_event() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("console.log");
        let (console, receiver) = console();
        console.follow(&b"one\r\ntwo\xff\nrest"[..], &file).await;
        assert_eq!(std::fs::read(&file).unwrap(), b"one\r\ntwo\xff\nrest");
        let lines: Vec<String> = receiver
            .try_iter()
            .map(|message| match message {
                Message::Record(Record {
                    event: Event::Console { line, .. },
                    ..
                }) => line,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(lines, ["one", "two\u{fffd}", "rest"]);
        assert_eq!(console.tail(2), ["two\u{fffd}", "rest"]);
        let end = "one\r\ntwo\u{fffd}\nrest".len();
        assert_eq!(console.since(5), ("two\u{fffd}\nrest".to_owned(), end));
    }

    #[tokio::test]
    async fn a_long_console_is_in_the_file_and_its_end_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("console.log");
        let (console, receiver) = console();
        // A receiver reads the events.
        let waiting = console.events.waiting();
        let reader = std::thread::spawn(move || {
            let mut notes = 0;
            while let Ok(Message::Record(record)) = receiver.recv() {
                waiting.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
                notes += usize::from(matches!(record.event, Event::Note { .. }));
            }
            notes
        });
        let bytes = vec![b'A'; 3 * RETAINED_BYTES];
        console.follow(&bytes[..], &file).await;
        console.follow(&b"\nthe end"[..], &file).await;
        let length = bytes.len() + 8;
        assert_eq!(std::fs::metadata(&file).unwrap().len(), length as u64);
        let (text, end) = console.since(0);
        assert!(text.len() <= RETAINED_BYTES + SURPLUS_BYTES && end == length);
        assert_eq!(console.since(length - 3).0, "end");
        assert_eq!(console.tail(1), ["the end"]);
        console.events.end();
        assert_eq!(reader.join().unwrap(), 1);
    }
}
