//! An Ethernet switch: learns which address is behind which port, and floods what it does not know.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use tokio::sync::mpsc;

/// Frames that wait for a port. A switch drops what a port cannot take.
const QUEUE_FRAMES: usize = 1024;

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
    ports: HashMap<u64, mpsc::Sender<EthernetFrame>>,
    addresses: LruCache<Address, u64>,
    next_port: u64,
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
    switch: Switch,
}

impl Switch {
    /// A new port, and the frames that leave the switch through it.
    #[must_use]
    pub fn plug_in(&self) -> (Port, mpsc::Receiver<EthernetFrame>) {
        let (sender, receiver) = mpsc::channel(QUEUE_FRAMES);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let number = state.next_port;
        state.next_port += 1;
        state.ports.insert(number, sender);
        let port = Port {
            number,
            switch: self.clone(),
        };
        (port, receiver)
    }
}

impl Port {
    /// Takes a frame that came in through this port. One that is too short to
    /// hold two addresses is dropped.
    pub fn receive(&self, frame: &[u8]) {
        let (Some(destination), Some(source)) = (address(frame, 0), address(frame, 6)) else {
            return;
        };
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
        match known {
            Some((number, port)) => {
                if *number != self.number {
                    let _ = port.try_send(frame);
                }
            }
            None => {
                for (number, port) in &state.ports {
                    if *number != self.number {
                        let _ = port.try_send(frame.clone());
                    }
                }
            }
        }
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

    fn frame(destination: u8, source: u8) -> Vec<u8> {
        let mut frame = vec![0; 14];
        frame[5] = destination;
        frame[11] = source;
        frame
    }

    #[test]
    fn unknown_destinations_are_flooded_and_known_ones_are_not() {
        let switch = Switch::default();
        let (a, mut from_a) = switch.plug_in();
        let (b, mut from_b) = switch.plug_in();
        let (_c, mut from_c) = switch.plug_in();
        a.receive(&frame(2, 1));
        assert!(from_b.try_recv().is_ok() && from_c.try_recv().is_ok());
        assert!(from_a.try_recv().is_err(), "a frame does not come back");
        b.receive(&frame(1, 2));
        assert!(from_a.try_recv().is_ok());
        assert!(from_c.try_recv().is_err(), "the switch knows where 1 is");
    }

    #[test]
    fn broadcasts_reach_everybody_else() {
        let switch = Switch::default();
        let (a, _from_a) = switch.plug_in();
        let (_b, mut from_b) = switch.plug_in();
        let mut broadcast = frame(0, 1);
        broadcast[..6].fill(0xff);
        a.receive(&broadcast);
        assert_eq!(&from_b.try_recv().unwrap()[..], &broadcast[..]);
    }

    #[test]
    fn what_is_unplugged_is_forgotten() {
        let switch = Switch::default();
        let (a, _from_a) = switch.plug_in();
        let (b, from_b) = switch.plug_in();
        let (_c, mut from_c) = switch.plug_in();
        b.receive(&frame(9, 2));
        let _ = from_c.try_recv();
        drop((b, from_b));
        a.receive(&frame(2, 1));
        assert!(from_c.try_recv().is_ok(), "2 may be anywhere again");
    }

    #[test]
    fn the_oldest_addresses_are_forgotten() {
        let switch = Switch::default();
        let (a, _from_a) = switch.plug_in();
        let (b, mut from_b) = switch.plug_in();
        let (_c, mut from_c) = switch.plug_in();
        b.receive(&frame(9, 2));
        // A guest that invents addresses.
        for number in 0..100_000_u32 {
            let mut frame = frame(0xff, 0);
            frame[6..10].copy_from_slice(&(number << 1).to_be_bytes());
            frame[6] &= 0xfe;
            a.receive(&frame);
            while from_b.try_recv().is_ok() {}
            while from_c.try_recv().is_ok() {}
        }
        assert_eq!(
            switch.state.lock().unwrap().addresses.len(),
            MOST_ADDRESSES.get()
        );
        a.receive(&frame(2, 1));
        assert!(from_b.try_recv().is_ok());
        assert!(from_c.try_recv().is_ok(), "2 may be anywhere again");
    }

    #[test]
    fn runts_are_dropped() {
        let switch = Switch::default();
        let (a, _from_a) = switch.plug_in();
        let (_b, mut from_b) = switch.plug_in();
        a.receive(&[0; 11]);
        assert!(from_b.try_recv().is_err());
    }
}
