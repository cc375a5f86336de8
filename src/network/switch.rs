//! An Ethernet switch: learns which address is behind which port, and floods what it does not know.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::sync::mpsc;

use super::Attachment;

/// Frames that wait for a port.
const QUEUE_FRAMES: usize = 1024;

/// How long a frame waits for room in a queue, and with it all that comes after it: TCP sends at the pace of the
/// receiver, instead of losing what it sends too fast. What a port does not take in that time is dropped.
const PATIENCE: Duration = Duration::from_millis(20);

/// The longest frame QEMU sends: 64 KiB with segmentation offload, and headers.
pub const MAX_FRAME_BYTES: usize = 65536 + 4096;

/// How many addresses a switch knows, as a real one: the one that was not seen
/// for the longest time is forgotten first.
const MOST_ADDRESSES: NonZeroUsize = NonZeroUsize::new(8192).unwrap();

type Address = [u8; 6];

/// A frame from destination address to the end of its payload.
pub type EthernetFrame = Arc<[u8]>;

/// Clones are the same switch.
#[derive(Debug, Clone, Default)]
pub struct Switch {
    state: Arc<Mutex<SwitchTable>>,
}

#[derive(Debug)]
struct SwitchTable {
    ports: HashMap<u64, Queue>,
    addresses: LruCache<Address, u64>,
    next_port: u64,
}

/// The frames that are to leave through a port.
#[derive(Debug, Clone)]
struct Queue {
    frames: mpsc::Sender<EthernetFrame>,
    /// Whether it has been full for too long: it is not waited for until it has room again.
    is_stalled: Arc<AtomicBool>,
}

impl Queue {
    /// Adds a frame if there is room.
    fn offer(&self, frame: EthernetFrame) {
        if self.frames.try_send(frame).is_ok() {
            self.is_stalled.store(false, Ordering::Relaxed);
        }
    }

    /// Adds a frame; waits for room if it is not stalled.
    async fn push(&self, frame: EthernetFrame) {
        if self.is_stalled.load(Ordering::Relaxed) {
            return self.offer(frame);
        }
        let sent = self.frames.send_timeout(frame, PATIENCE).await;
        self.is_stalled.store(sent.is_err(), Ordering::Relaxed);
    }
}

impl Default for SwitchTable {
    fn default() -> Self {
        Self {
            ports: HashMap::new(),
            addresses: LruCache::new(MOST_ADDRESSES),
            next_port: 0,
        }
    }
}

/// One place to plug in. Unplugged when it is dropped.
#[derive(Debug)]
pub struct Port {
    number: u64,
    attachment: Attachment,
    switch: Switch,
}

impl Switch {
    /// A new port, and the frames that leave the switch through it.
    #[must_use]
    pub fn plug_in(&self, attachment: Attachment) -> (Port, mpsc::Receiver<EthernetFrame>) {
        let (frames, receiver) = mpsc::channel(QUEUE_FRAMES);
        let queue = Queue {
            frames,
            is_stalled: Arc::default(),
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let number = state.next_port;
        state.next_port += 1;
        state.ports.insert(number, queue);
        let port = Port {
            number,
            attachment,
            switch: self.clone(),
        };
        (port, receiver)
    }
}

impl Port {
    /// The machine and the network that the port belongs to.
    #[must_use]
    pub fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// Takes a frame that came in through this port. One that is too short to
    /// hold two addresses is dropped. May wait for the port that it leaves through.
    pub async fn receive(&self, frame: &[u8]) {
        if let Some((queue, frame)) = self.forward(frame) {
            queue.push(frame).await;
        }
    }

    /// Sends a frame on, to the ports of a group or of an unknown address as far as they have room; returns the one
    /// port of a known address.
    fn forward(&self, frame: &[u8]) -> Option<(Queue, EthernetFrame)> {
        let (destination, source) = (address(frame, 0)?, address(frame, 6)?);
        let mut state = self
            .switch
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !is_group(source) {
            state.addresses.put(source, self.number);
        }
        let frame: EthernetFrame = frame.into();
        let known = state
            .addresses
            .peek(&destination)
            .filter(|_| !is_group(destination))
            .and_then(|number| state.ports.get_key_value(number));
        if let Some((number, queue)) = known {
            return (*number != self.number).then(|| (queue.clone(), frame));
        }
        for (number, queue) in &state.ports {
            if *number != self.number {
                queue.offer(frame.clone());
            }
        }
        None
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let mut state = self
            .switch
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        state.ports.remove(&self.number);
        let own: Vec<Address> = state
            .addresses
            .iter()
            .filter(|(_, number)| **number == self.number)
            .map(|(address, _)| *address)
            .collect();
        for address in own {
            state.addresses.pop(&address);
        }
    }
}

fn address(frame: &[u8], from: usize) -> Option<Address> {
    frame.get(from..from + 6)?.try_into().ok()
}

/// Broadcast and multicast addresses have the lowest bit of their first byte set.
fn is_group(address: Address) -> bool {
    address[0] & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plug_in(switch: &Switch) -> (Port, mpsc::Receiver<EthernetFrame>) {
        switch.plug_in(Attachment {
            network: 1,
            machine: None,
        })
    }

    fn frame(destination: u8, source: u8) -> Vec<u8> {
        let mut frame = vec![0; 14];
        frame[5] = destination;
        frame[11] = source;
        frame
    }

    #[tokio::test]
    async fn unknown_destinations_are_flooded_and_known_ones_are_not() {
        let switch = Switch::default();
        let (a, mut from_a) = plug_in(&switch);
        let (b, mut from_b) = plug_in(&switch);
        let (_c, mut from_c) = plug_in(&switch);
        a.receive(&frame(2, 1)).await;
        assert!(from_b.try_recv().is_ok() && from_c.try_recv().is_ok());
        assert!(from_a.try_recv().is_err(), "a frame does not come back");
        b.receive(&frame(1, 2)).await;
        assert!(from_a.try_recv().is_ok());
        assert!(from_c.try_recv().is_err(), "the switch knows where 1 is");
    }

    #[tokio::test]
    async fn broadcasts_reach_everybody_else() {
        let switch = Switch::default();
        let (a, _from_a) = plug_in(&switch);
        let (_b, mut from_b) = plug_in(&switch);
        let mut broadcast = frame(0, 1);
        broadcast[..6].fill(0xff);
        a.receive(&broadcast).await;
        assert_eq!(&from_b.try_recv().unwrap()[..], &broadcast[..]);
    }

    #[tokio::test]
    async fn what_is_unplugged_is_forgotten() {
        let switch = Switch::default();
        let (a, _from_a) = plug_in(&switch);
        let (b, from_b) = plug_in(&switch);
        let (_c, mut from_c) = plug_in(&switch);
        b.receive(&frame(9, 2)).await;
        let _ = from_c.try_recv();
        drop((b, from_b));
        a.receive(&frame(2, 1)).await;
        assert!(from_c.try_recv().is_ok(), "2 may be anywhere again");
    }

    #[tokio::test]
    async fn the_oldest_addresses_are_forgotten() {
        let switch = Switch::default();
        let (a, _from_a) = plug_in(&switch);
        let (b, mut from_b) = plug_in(&switch);
        let (_c, mut from_c) = plug_in(&switch);
        b.receive(&frame(9, 2)).await;
        // A guest that invents addresses.
        for number in 0..100_000_u32 {
            let mut frame = frame(0xff, 0);
            frame[6..10].copy_from_slice(&(number << 1).to_be_bytes());
            frame[6] &= 0xfe;
            a.receive(&frame).await;
            while from_b.try_recv().is_ok() {}
            while from_c.try_recv().is_ok() {}
        }
        assert_eq!(
            switch.state.lock().unwrap().addresses.len(),
            MOST_ADDRESSES.get()
        );
        a.receive(&frame(2, 1)).await;
        assert!(from_b.try_recv().is_ok());
        assert!(from_c.try_recv().is_ok(), "2 may be anywhere again");
    }

    #[tokio::test]
    async fn runts_are_dropped() {
        let switch = Switch::default();
        let (a, _from_a) = plug_in(&switch);
        let (_b, mut from_b) = plug_in(&switch);
        a.receive(&[0; 11]).await;
        assert!(from_b.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_slow_port_loses_nothing() {
        let switch = Switch::default();
        let (a, _from_a) = plug_in(&switch);
        let (b, mut from_b) = plug_in(&switch);
        b.receive(&frame(9, 2)).await;
        let frames = 4 * QUEUE_FRAMES;
        let reader = tokio::spawn(async move {
            for _ in 0..frames {
                from_b.recv().await.unwrap();
            }
        });
        for _ in 0..frames {
            a.receive(&frame(2, 1)).await;
        }
        reader.await.unwrap();
    }

    #[tokio::test]
    async fn a_port_that_takes_nothing_is_waited_for_once() {
        let switch = Switch::default();
        let (a, _from_a) = plug_in(&switch);
        let (b, mut from_b) = plug_in(&switch);
        b.receive(&frame(9, 2)).await;
        let is_stalled = || {
            let state = switch.state.lock().unwrap();
            state.ports[&b.number].is_stalled.load(Ordering::Relaxed)
        };
        for _ in 0..10 * QUEUE_FRAMES {
            a.receive(&frame(2, 1)).await;
        }
        assert!(is_stalled() && from_b.len() == QUEUE_FRAMES);
        // It is waited for again when it has taken something.
        from_b.recv().await.unwrap();
        a.receive(&frame(2, 1)).await;
        assert!(!is_stalled());
    }
}
