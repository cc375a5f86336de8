//! The serial console of a machine: kept whole in a file and in memory, told line by line.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use super::Health;
use crate::event::{Event, Events};

/// A line longer than this is told in parts.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// Clones are the same console. It outlives restarts of its machine.
#[derive(Debug, Clone)]
pub struct Console {
    machine: String,
    events: Events,
    health: Health,
    text: Arc<Mutex<String>>,
    length: Arc<watch::Sender<usize>>,
}

impl Console {
    #[must_use]
    pub fn new(machine: &str, events: Events, health: Health) -> Self {
        Self {
            machine: machine.to_owned(),
            events,
            health,
            text: Arc::default(),
            length: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Reads `source` to its end, appending to `file` as it comes.
    ///
    /// # Errors
    /// When the file cannot be opened or written.
    pub async fn follow(&self, source: impl AsyncRead + Unpin, file: &Path) -> io::Result<()> {
        let mut file = open(file).await?;
        let mut source = source;
        let mut buffer = [0; 8192];
        let mut line = Vec::new();
        loop {
            let length = source.read(&mut buffer).await.unwrap_or(0);
            if length == 0 {
                break;
            }
            let bytes = &buffer[..length];
            file.write_all(bytes).await?;
            file.flush().await?;
            self.append(bytes);
            for byte in bytes {
                if *byte == b'\n' || line.len() == MAX_LINE_BYTES {
                    self.tell(&line);
                    line.clear();
                }
                if *byte != b'\n' {
                    line.push(*byte);
                }
            }
        }
        if !line.is_empty() {
            self.tell(&line);
        }
        Ok(())
    }

    /// Begins with what was said before, in memory and in `file`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn recall(&self, text: &str, file: &Path) -> io::Result<()> {
        let mut file = open(file).await?;
        file.write_all(text.as_bytes()).await?;
        file.flush().await?;
        self.append(text.as_bytes());
        Ok(())
    }

    /// Everything from byte `position` on.
    #[must_use]
    pub fn since(&self, position: usize) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        text.get(position..).unwrap_or_default().to_owned()
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
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty())
            .collect();
        lines[lines.len().saturating_sub(count)..]
            .iter()
            .map(|line| (*line).to_owned())
            .collect()
    }

    /// The last line that holds `part`, from there on.
    #[must_use]
    pub fn last_line_with(&self, part: &str) -> Option<String> {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        text.lines().rev().find_map(|line| {
            line.find(part)
                .map(|from| line[from..].trim_end().to_owned())
        })
    }

    fn append(&self, bytes: &[u8]) {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        text.push_str(&String::from_utf8_lossy(bytes));
        let length = text.len();
        drop(text);
        self.length.send_replace(length);
    }

    fn tell(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        self.health.look_at(&self.machine, &line);
        self.events.tell(Event::Console {
            machine: self.machine.clone(),
            line: line.trim_end_matches('\r').to_owned(),
        });
    }
}

async fn open(file: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::Alarm;

    #[tokio::test]
    async fn everything_is_kept_and_lines_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("console.log");
        let (sender, receiver) = std::sync::mpsc::channel();
        let (alarm, _) = tokio::sync::mpsc::unbounded_channel();
        let health = Health::new("", Alarm(alarm));
        let console = Console::new("m", Events::new(sender), health);
        console
            .follow(&b"one\r\ntwo\xff\nrest"[..], &file)
            .await
            .unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"one\r\ntwo\xff\nrest");
        let lines: Vec<String> = receiver
            .try_iter()
            .map(|record| match record.event {
                Event::Console { line, .. } => line,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(lines, ["one", "two\u{fffd}", "rest"]);
        assert_eq!(console.tail(2), ["two\u{fffd}", "rest"]);
        assert_eq!(console.since(5), "two\u{fffd}\nrest");
    }
}
