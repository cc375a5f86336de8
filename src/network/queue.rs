//! The frames that wait to leave a switch through a port.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

/// Frames that wait for a port.
pub(super) const QUEUE_FRAMES: usize = 1024;

/// How long a frame waits for room in a queue, and with it all that comes after it: TCP sends at the pace of the
/// receiver, instead of losing what it sends too fast. A frame that a port does not take in that time is dropped.
const PATIENCE: Duration = Duration::from_millis(20);

/// A frame from destination address to the end of its payload.
pub type EthernetFrame = Arc<[u8]>;

/// The frames that are to leave through a port.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    frames: mpsc::Sender<EthernetFrame>,
    /// Whether it has been full for too long: it is not waited for until it has room again.
    is_stalled: Arc<AtomicBool>,
}

impl Queue {
    /// Returns an empty queue, and the frames that leave it.
    pub fn open() -> (Self, mpsc::Receiver<EthernetFrame>) {
        let (frames, receiver) = mpsc::channel(QUEUE_FRAMES);
        let queue = Self {
            frames,
            is_stalled: Arc::default(),
        };
        (queue, receiver)
    }

    /// Whether the queue has been full for too long.
    #[cfg(test)]
    pub fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::Relaxed)
    }

    /// Adds a frame if there is room.
    pub fn offer(&self, frame: EthernetFrame) {
        if self.frames.try_send(frame).is_ok() {
            self.is_stalled.store(false, Ordering::Relaxed);
        }
    }

    /// Adds a frame; waits for room if it is not stalled.
    pub async fn push(&self, frame: EthernetFrame) {
        if self.is_stalled.load(Ordering::Relaxed) {
            return self.offer(frame);
        }
        let sent = self.frames.send_timeout(frame, PATIENCE).await;
        self.is_stalled.store(sent.is_err(), Ordering::Relaxed);
    }
}
