//! A stream of lines between host and guest, each of them within a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Mutex, mpsc};

use super::error::ShellError;

/// The longest line of a guest, and the longest reply to a command: 384 MiB of
/// output are 512 MiB in base64.
pub(super) const MOST_LINE_BYTES: usize = 1 << 20;
pub(super) const MOST_REPLY_BYTES: usize = if cfg!(test) { 64 << 10 } else { 512 << 20 };

/// Lines that wait to be read. Replies are long.
const QUEUE: usize = 16;
const REPLY_QUEUE: usize = 1;

/// The protocol on a stream.
#[derive(Debug, Clone, Copy)]
pub(super) enum StreamKind {
    /// Replies to commands.
    Replies,
    /// Other lines; the name for messages.
    Other(&'static str),
}

/// A line as it came, with its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub bytes: Vec<u8>,
    /// Whether the rest of it is lost, as it was too long.
    pub is_cut: bool,
}

/// A stream of lines in both directions. A task reads, so that no line is
/// lost when a caller stops waiting for one.
#[derive(Debug)]
pub(super) struct Line {
    incoming: mpsc::Receiver<Received>,
    outgoing: LineWriter,
    /// The longest line, in bytes.
    limit: Arc<AtomicUsize>,
}

/// The way out of a stream, for one line after another.
#[derive(Debug, Clone)]
pub(super) struct LineWriter(Arc<Mutex<OwnedWriteHalf>>);

impl LineWriter {
    pub async fn write(&self, bytes: &[u8]) -> Result<(), ShellError> {
        let mut outgoing = self.0.lock().await;
        outgoing
            .write_all(bytes)
            .await
            .map_err(|_| ShellError::Closed)
    }
}

impl Line {
    pub fn over(
        stream: UnixStream,
        kind: StreamKind,
        on_cut: impl Fn(&str) + Send + 'static,
    ) -> Self {
        let (reading, outgoing) = stream.into_split();
        let queue = match kind {
            StreamKind::Replies => REPLY_QUEUE,
            StreamKind::Other(_) => QUEUE,
        };
        let (sender, incoming) = mpsc::channel(queue);
        let limit = Arc::new(AtomicUsize::new(MOST_LINE_BYTES));
        let on_cut = move || {
            // A reply that is cut is an error of its command.
            if let StreamKind::Other(name) = kind {
                on_cut(name);
            }
        };
        tokio::spawn(read(reading, limit.clone(), sender, on_cut));
        Self {
            incoming,
            outgoing: LineWriter(Arc::new(Mutex::new(outgoing))),
            limit,
        }
    }

    /// The next line, with its end.
    pub async fn next(&mut self) -> Result<Vec<u8>, ShellError> {
        Ok(self.receive().await?.bytes)
    }

    /// The next line, which is whole.
    pub async fn next_reply(&mut self) -> Result<Vec<u8>, ShellError> {
        let received = self.receive().await?;
        if received.is_cut {
            return Err(too_long());
        }
        Ok(received.bytes)
    }

    pub async fn receive(&mut self) -> Result<Received, ShellError> {
        self.incoming.recv().await.ok_or(ShellError::Closed)
    }

    /// A line that is there already.
    pub fn try_next(&mut self) -> Option<Vec<u8>> {
        Some(self.incoming.try_recv().ok()?.bytes)
    }

    /// Sets the longest line, in bytes.
    pub fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.incoming.is_empty()
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ShellError> {
        self.outgoing.write(bytes).await
    }

    /// Another way out, beside this one.
    pub fn writer(&self) -> LineWriter {
        self.outgoing.clone()
    }
}

async fn read(
    stream: impl AsyncRead + Unpin,
    limit: Arc<AtomicUsize>,
    sender: mpsc::Sender<Received>,
    on_cut: impl Fn(),
) {
    let mut stream = BufReader::with_capacity(1 << 16, stream);
    let mut bytes = Vec::new();
    let (mut is_cut, mut was_cut) = (false, false);
    loop {
        let chunk = match stream.fill_buf().await {
            Ok(chunk) if !chunk.is_empty() => chunk,
            _ => return,
        };
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..end.map_or(chunk.len(), |end| end + 1)];
        let room = limit.load(Ordering::Relaxed).saturating_sub(bytes.len());
        is_cut |= part.len() > room;
        bytes.extend_from_slice(&part[..part.len().min(room)]);
        let length = part.len();
        stream.consume(length);
        if is_cut && !std::mem::replace(&mut was_cut, true) {
            on_cut();
        }
        if end.is_some() {
            let received = Received {
                bytes: std::mem::take(&mut bytes),
                is_cut: std::mem::take(&mut is_cut),
            };
            if sender.send(received).await.is_err() {
                return;
            }
        }
    }
}

/// Base64 makes four bytes of three.
pub(super) fn too_long() -> ShellError {
    ShellError::TooLong(MOST_REPLY_BYTES / 4 * 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_without_end_is_cut() {
        let text = [&vec![b'A'; 100_000][..], b"\nnext\n"].concat();
        let (sender, mut lines) = mpsc::channel(QUEUE);
        let cuts = Arc::new(AtomicUsize::default());
        let counted = cuts.clone();
        let limit = Arc::new(AtomicUsize::new(1000));
        read(&text[..], limit, sender, move || {
            counted.fetch_add(1, Ordering::Relaxed);
        })
        .await;
        let first = lines.recv().await.unwrap();
        assert_eq!((first.bytes.len(), first.is_cut), (1000, true));
        let second = lines.recv().await.unwrap();
        assert_eq!((&second.bytes[..], second.is_cut), (&b"next\n"[..], false));
        assert_eq!(cuts.load(Ordering::Relaxed), 1);
    }
}
