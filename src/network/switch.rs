//! An Ethernet switch: learns which address is behind which port, and floods what it does not know.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use lru::LruCache;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Attachment;
use super::capture::{CaptureFilter, CaptureId, CapturedFrame, CapturedFrames, NetworkCaptures};
use super::delay_line::DelayLine;
use super::fault::{FaultId, LinkEnds, LinkFault, LinkFaults, Passage};
use super::headers::FrameHeaders;
use super::queue::{EthernetFrame, Queue};
use crate::model::fault_counts::FaultCounts;

/// The longest frame QEMU sends: 64 KiB with segmentation offload, and headers.
pub const MAX_FRAME_BYTES: usize = 65536 + 4096;

/// How many addresses a switch knows, as a real one: the one that was not seen
/// for the longest time is forgotten first.
const MOST_ADDRESSES: NonZeroUsize = NonZeroUsize::new(8192).unwrap();

type Address = [u8; 6];

/// Clones are the same switch.
#[derive(Debug, Clone)]
pub struct Switch {
    state: Arc<Mutex<SwitchTable>>,
}

#[derive(Debug)]
struct SwitchTable {
    ports: HashMap<u64, PortEntry>,
    addresses: LruCache<Address, u64>,
    next_port: u64,
    faults: LinkFaults,
    delay_line: DelayLine,
    captures: NetworkCaptures,
    number: u32,
}

/// A port as the switch knows it.
#[derive(Debug)]
struct PortEntry {
    queue: Queue,
    /// `None` for a connection that no machine was given.
    machine: Option<Arc<str>>,
}

/// Frames that leave at once through the port of a known address.
#[derive(Debug)]
struct Delivery {
    queue: Queue,
    frame: EthernetFrame,
    copies: u32,
}

impl Delivery {
    /// Adds the frames to the queue as far as there is room.
    fn offer(self) {
        for _ in 0..self.copies {
            self.queue.offer(self.frame.clone());
        }
    }
}

impl SwitchTable {
    /// Returns the ports that a frame leaves through, but for the one that it came in by: the port of a known address,
    /// or all.
    fn ways(&self, destination: Address, from: u64) -> Ways {
        let known = self.addresses.peek(&destination);
        match known.filter(|number| !is_group(destination) && self.ports.contains_key(number)) {
            Some(number) if *number == from => Ways::None,
            Some(number) => Ways::One(*number),
            None => Ways::All,
        }
    }

    /// Passes a frame through the faults between two ports.
    fn pass_faults(
        &mut self,
        from: Option<&Arc<str>>,
        to: u64,
        frame: &EthernetFrame,
        headers: &FrameHeaders,
    ) -> Passed {
        let Some(port) = self.ports.get(&to) else {
            return Passed::Lost;
        };
        let queue = port.queue.clone();
        let ends: Option<LinkEnds> = from.cloned().zip(port.machine.clone());
        let Some(ends) = ends.filter(|ends| self.faults.concern(ends)) else {
            return Passed::AtOnce(Delivery {
                queue,
                frame: frame.clone(),
                copies: 1,
            });
        };
        let now = Instant::now();
        let passage: Option<Passage> = self.faults.pass(&ends, frame, headers, now);
        match passage {
            None => Passed::Lost,
            Some(passage) if passage.due > now => {
                self.delay_line.add(passage, queue);
                Passed::Later
            }
            Some(passage) => Passed::AtOnce(Delivery {
                queue,
                frame: passage.frame,
                copies: passage.copies,
            }),
        }
    }

    fn machine_at(&self, port: u64) -> Option<Arc<str>> {
        self.ports.get(&port)?.machine.clone()
    }

    /// Adds a frame to the captures of the network, if there are any.
    fn capture(
        &mut self,
        sender: Option<&Arc<str>>,
        ways: Ways,
        lost_for: Vec<Arc<str>>,
        frame: &EthernetFrame,
    ) {
        if self.captures.is_empty() {
            return;
        }
        let receiver = match ways {
            Ways::One(number) => self.machine_at(number),
            Ways::None | Ways::All => None,
        };
        self.captures.add(&CapturedFrame {
            time: SystemTime::now(),
            network: self.number,
            sender: sender.cloned(),
            receiver,
            lost_for,
            frame: frame.clone(),
        });
    }
}

/// The result of a frame's way through the faults of a link.
#[derive(Debug)]
enum Passed {
    AtOnce(Delivery),
    /// The frame waits until it is due.
    Later,
    Lost,
}

/// The ports that a frame leaves through.
#[derive(Debug, Clone, Copy)]
enum Ways {
    None,
    One(u64),
    All,
}

/// One place to plug in. Unplugged when it is dropped.
#[derive(Debug)]
pub struct Port {
    number: u64,
    attachment: Attachment,
    switch: Switch,
}

impl Switch {
    /// Returns the switch of network `number`. The random numbers of its faults come from `seed`.
    #[must_use]
    pub fn new(number: u32, seed: u64) -> Self {
        let table = SwitchTable {
            ports: HashMap::new(),
            addresses: LruCache::new(MOST_ADDRESSES),
            next_port: 0,
            faults: LinkFaults::new(seed, number),
            delay_line: DelayLine::default(),
            captures: NetworkCaptures::default(),
            number,
        };
        Self {
            state: Arc::new(Mutex::new(table)),
        }
    }

    /// Begins a fault: frames that come from now on are in it.
    pub fn begin_fault(&self, id: FaultId, fault: LinkFault) {
        self.lock().faults.begin(id, fault);
    }

    /// Ends a fault and returns its counts; `None` if there is no such fault. Frames that wait for it leave at once.
    #[must_use]
    pub fn end_fault(&self, id: FaultId) -> Option<FaultCounts> {
        let mut state = self.lock();
        let counts = state.faults.end(id);
        state.delay_line.release(id);
        counts
    }

    /// Returns the counts of a fault so far; `None` if there is no such fault.
    #[must_use]
    pub fn fault_counts(&self, id: FaultId) -> Option<FaultCounts> {
        self.lock().faults.counts(id)
    }

    /// Keeps the last frames from now on, up to some bytes.
    pub fn keep_last_frames(&self, most_bytes: usize) {
        self.lock().captures.keep_last(most_bytes);
    }

    /// Returns the last frames of the network.
    #[must_use]
    pub fn last_frames(&self) -> CapturedFrames {
        self.lock().captures.last()
    }

    /// Begins a capture.
    pub fn begin_capture(&self, id: CaptureId) {
        self.lock().captures.begin(id);
    }

    /// Ends a capture; `None` if there is no such capture.
    #[must_use]
    pub fn end_capture(&self, id: CaptureId) -> Option<CapturedFrames> {
        self.lock().captures.end(id)
    }

    /// Returns the count of the frames of a capture that a filter accepts, and the first of them; `None` if there is no such
    /// capture.
    #[must_use]
    pub fn captured(
        &self,
        id: CaptureId,
        filter: &CaptureFilter,
        most: usize,
    ) -> Option<(usize, Vec<CapturedFrame>)> {
        self.lock().captures.find(id, filter, most)
    }

    /// Waits until a capture has so many frames that a filter accepts; `false` if the capture has ended before.
    pub async fn wait_for_captured(
        &self,
        id: CaptureId,
        filter: &CaptureFilter,
        wanted: usize,
    ) -> bool {
        let (mut accepted, mut from) = (0, 0);
        loop {
            let counted = self.lock().captures.count(id, filter, from);
            let Some(counted) = counted else { return false };
            (accepted, from) = (accepted + counted.accepted, counted.end);
            if accepted >= wanted {
                return true;
            }
            let Some(changed) = counted.changed else {
                return false;
            };
            // It was made under the lock under which frames are added: none is missed.
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, SwitchTable> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new port, and the frames that leave the switch through it.
    #[must_use]
    pub fn plug_in(&self, attachment: Attachment) -> (Port, mpsc::Receiver<EthernetFrame>) {
        let (queue, receiver) = Queue::open();
        let mut state = self.lock();
        let number = state.next_port;
        state.next_port += 1;
        let machine = attachment.machine.clone();
        state.ports.insert(number, PortEntry { queue, machine });
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
        let Some(delivery) = self.forward(frame) else {
            return;
        };
        for _ in 1..delivery.copies {
            delivery.queue.push(delivery.frame.clone()).await;
        }
        delivery.queue.push(delivery.frame).await;
    }

    /// Sends a frame on, to the ports of a group or of an unknown address as far as they have room; returns what leaves
    /// at once through the one port of a known address.
    fn forward(&self, frame: &[u8]) -> Option<Delivery> {
        let (destination, source) = (address(frame, 0)?, address(frame, 6)?);
        let mut state = self.switch.lock();
        if !is_group(source) {
            state.addresses.put(source, self.number);
        }
        let frame: EthernetFrame = frame.into();
        let ways = state.ways(destination, self.number);
        if !state.faults.is_empty() {
            let (delivery, lost_for) = self.forward_in_faults(&mut state, &frame, ways);
            state.capture(self.attachment.machine.as_ref(), ways, lost_for, &frame);
            return delivery;
        }
        state.capture(self.attachment.machine.as_ref(), ways, Vec::new(), &frame);
        match ways {
            Ways::None => {}
            Ways::One(number) => {
                let queue = state.ports.get(&number)?.queue.clone();
                let copies = 1;
                return Some(Delivery {
                    queue,
                    frame,
                    copies,
                });
            }
            Ways::All => {
                for (number, port) in &state.ports {
                    if *number != self.number {
                        port.queue.offer(frame.clone());
                    }
                }
            }
        }
        None
    }

    /// Does the same in a network that has faults. Also returns the machines that a fault has kept the frame from.
    fn forward_in_faults(
        &self,
        state: &mut SwitchTable,
        frame: &EthernetFrame,
        ways: Ways,
    ) -> (Option<Delivery>, Vec<Arc<str>>) {
        let headers = FrameHeaders::read(frame);
        let from = self.attachment.machine.as_ref();
        let mut lost_for = Vec::new();
        let mut delivery = None;
        match ways {
            Ways::None => {}
            Ways::One(number) => match state.pass_faults(from, number, frame, &headers) {
                Passed::AtOnce(at_once) => delivery = Some(at_once),
                Passed::Later => {}
                Passed::Lost => lost_for.extend(state.machine_at(number)),
            },
            Ways::All => {
                // In the order of the ports, so that each link draws its numbers for the same frames each time.
                let mut numbers: Vec<u64> = state.ports.keys().copied().collect();
                numbers.sort_unstable();
                for number in numbers.into_iter().filter(|number| *number != self.number) {
                    match state.pass_faults(from, number, frame, &headers) {
                        Passed::AtOnce(passed) => passed.offer(),
                        Passed::Later => {}
                        Passed::Lost => lost_for.extend(state.machine_at(number)),
                    }
                }
            }
        }
        (delivery, lost_for)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let mut state = self.switch.lock();
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
    use super::super::queue::QUEUE_FRAMES;
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
        let switch = Switch::new(1, 0);
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
        let switch = Switch::new(1, 0);
        let (a, _from_a) = plug_in(&switch);
        let (_b, mut from_b) = plug_in(&switch);
        let mut broadcast = frame(0, 1);
        broadcast[..6].fill(0xff);
        a.receive(&broadcast).await;
        assert_eq!(&from_b.try_recv().unwrap()[..], &broadcast[..]);
    }

    #[tokio::test]
    async fn what_is_unplugged_is_forgotten() {
        let switch = Switch::new(1, 0);
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
        let switch = Switch::new(1, 0);
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
        let switch = Switch::new(1, 0);
        let (a, _from_a) = plug_in(&switch);
        let (_b, mut from_b) = plug_in(&switch);
        a.receive(&[0; 11]).await;
        assert!(from_b.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_slow_port_loses_nothing() {
        let switch = Switch::new(1, 0);
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
        let switch = Switch::new(1, 0);
        let (a, _from_a) = plug_in(&switch);
        let (b, mut from_b) = plug_in(&switch);
        b.receive(&frame(9, 2)).await;
        let is_stalled = || {
            let state = switch.state.lock().unwrap();
            state.ports[&b.number].queue.is_stalled()
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
