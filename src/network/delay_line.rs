//! The frames of a network that wait until they are due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::fault::{FaultId, Passage};
use super::queue::Queue;

/// Delivers frames when they are due, those of one moment in the order in which they came. Ends when it is dropped.
#[derive(Debug, Default)]
pub(super) struct DelayLine {
    waiting: Arc<Waiting>,
    /// Started with the first frame.
    delivery: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: Mutex<WaitingFrames>,
    /// A frame has come that is due before all others.
    earlier: Notify,
}

#[derive(Debug, Default)]
struct WaitingFrames {
    heap: BinaryHeap<Reverse<WaitingFrame>>,
    next_number: u64,
}

#[derive(Debug)]
struct WaitingFrame {
    number: u64,
    passage: Passage,
    queue: Queue,
}

impl WaitingFrame {
    fn order(&self) -> (Instant, u64) {
        (self.passage.due, self.number)
    }

    fn deliver(self) {
        for _ in 0..self.passage.copies {
            self.queue.offer(self.passage.frame.clone());
        }
    }
}

impl PartialEq for WaitingFrame {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for WaitingFrame {}

impl PartialOrd for WaitingFrame {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for WaitingFrame {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl DelayLine {
    /// Delivers a frame to a port's queue when it is due. Must be called on a thread of the runtime.
    pub fn add(&mut self, passage: Passage, queue: Queue) {
        let waiting = &self.waiting;
        let mut frames = waiting.lock();
        let number = frames.next_number;
        frames.next_number += 1;
        let is_first = frames
            .heap
            .peek()
            .is_none_or(|Reverse(first)| passage.due < first.passage.due);
        frames.heap.push(Reverse(WaitingFrame {
            number,
            passage,
            queue,
        }));
        drop(frames);
        if is_first {
            waiting.earlier.notify_one();
        }
        self.delivery
            .get_or_insert_with(|| tokio::spawn(deliver_all(self.waiting.clone())));
    }

    /// Delivers the frames at once that wait for a fault, in the order in which they are due.
    pub fn release(&self, fault: FaultId) {
        let mut frames = self.waiting.lock();
        let all = std::mem::take(&mut frames.heap).into_vec();
        let (mut released, others): (Vec<_>, Vec<_>) = all
            .into_iter()
            .map(|Reverse(frame)| frame)
            .partition(|frame| frame.passage.waits_for.contains(&fault));
        frames.heap = others.into_iter().map(Reverse).collect();
        released.sort();
        // Under the lock, so that no frame that is due now comes before them.
        for frame in released {
            frame.deliver();
        }
    }
}

impl Drop for DelayLine {
    fn drop(&mut self) {
        if let Some(delivery) = &self.delivery {
            delivery.abort();
        }
    }
}

impl Waiting {
    fn lock(&self) -> std::sync::MutexGuard<'_, WaitingFrames> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers the frames that are due; returns when the next one is.
    fn deliver_due(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut frames = self.lock();
        while let Some(Reverse(first)) = frames.heap.peek() {
            if first.passage.due > now {
                return Some(first.passage.due);
            }
            if let Some(Reverse(frame)) = frames.heap.pop() {
                frame.deliver();
            }
        }
        None
    }
}

async fn deliver_all(waiting: Arc<Waiting>) {
    loop {
        let next = waiting.deliver_due();
        let is_due = async {
            match next {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = is_due => {}
            () = waiting.earlier.notified() => {}
        }
    }
}
