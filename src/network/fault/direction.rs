//! One direction of a link in a fault: its random numbers, and the frames that wait.

use std::collections::VecDeque;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokio::time::{Duration, Instant};

use super::Passage;
use super::effects::LinkEffects;
use crate::model::fault_counts::FaultCounts;
use crate::model::quantity::Fraction;
use crate::network::EthernetFrame;

/// Bytes of addresses and type, in which corruption inverts no bit: the frame still has its receiver.
const ETHERNET_HEADER_BYTES: usize = 14;

/// Bytes of a VLAN tag, and the types that announce one.
const VLAN_TAG_BYTES: usize = 4;
const VLAN_TYPES: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];

/// The state of one direction.
#[derive(Debug)]
pub(super) struct Direction {
    random: ChaCha8Rng,
    /// When each of the waiting frames leaves.
    departures: VecDeque<Instant>,
}

impl Direction {
    /// Returns the direction of a link from one machine to another in the `nth` fault of this direction.
    pub fn new(seed: u64, network: u32, from: &str, to: &str, nth: u32) -> Self {
        let mut hash = blake3::Hasher::new();
        hash.update(&seed.to_le_bytes());
        hash.update(&network.to_le_bytes());
        hash.update(&nth.to_le_bytes());
        for name in [from, to] {
            hash.update(&(name.len() as u64).to_le_bytes());
            hash.update(name.as_bytes());
        }
        Self {
            random: ChaCha8Rng::from_seed(*hash.finalize().as_bytes()),
            departures: VecDeque::new(),
        }
    }

    /// Passes a frame, which comes in at `passage.due`; `None` if it is dropped.
    pub fn pass(
        &mut self,
        effects: &LinkEffects,
        counts: &mut FaultCounts,
        mut passage: Passage,
    ) -> Option<Passage> {
        if self.happens(effects.loss) {
            counts.dropped += 1;
            return None;
        }
        if self.happens(effects.duplicate) {
            counts.duplicated += 1;
            passage.copies = passage.copies.saturating_mul(2);
        }
        if self.happens(effects.corrupt)
            && let Some(corrupted) = self.invert_bit(&passage.frame)
        {
            counts.corrupted += 1;
            passage.frame = corrupted;
        }
        let arrival = passage.due;
        let Some(departure) = self.depart(effects, counts, &passage) else {
            counts.dropped += 1;
            return None;
        };
        if departure > arrival {
            counts.delayed += 1;
            passage.due = departure;
        }
        Some(passage)
    }

    /// Returns when a frame leaves; `None` if too many wait.
    fn depart(
        &mut self,
        effects: &LinkEffects,
        counts: &mut FaultCounts,
        passage: &Passage,
    ) -> Option<Instant> {
        let arrival = passage.due;
        let mut departure = arrival;
        if effects.delay > 0.0 {
            if self.happens(effects.reorder) {
                counts.reordered += 1;
            } else {
                departure += self.delay(effects);
            }
        }
        if effects.delay == 0.0 && effects.rate.is_none() {
            return Some(departure);
        }
        self.departures.retain(|leaves| *leaves > arrival);
        if self.departures.len() >= effects.queue_frames() {
            return None;
        }
        if let Some(rate) = &effects.rate {
            let last = self.departures.back().copied();
            departure = last.map_or(departure, |last| last.max(departure));
            let bits = passage.frame.len() as u64 * 8 * u64::from(passage.copies);
            departure += transmission(bits, rate.bits_per_second());
        }
        self.departures.push_back(departure);
        Some(departure)
    }

    fn delay(&mut self, effects: &LinkEffects) -> Duration {
        if effects.jitter == 0.0 {
            return effects.delay();
        }
        let deviation = (2.0 * self.fraction() - 1.0) * effects.jitter;
        Duration::from_secs_f64((effects.delay + deviation).max(0.0))
    }

    /// Draws whether something happens that is not certain.
    fn happens(&mut self, fraction: Option<Fraction>) -> bool {
        fraction.is_some_and(|fraction| self.fraction() < fraction.value())
    }

    /// Draws a number from 0 to 1, which it never is.
    #[allow(clippy::cast_precision_loss)]
    fn fraction(&mut self) -> f64 {
        // The 53 bits of a number of this type.
        (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Inverts one bit behind the Ethernet header; `None` if there is none.
    fn invert_bit(&mut self, frame: &EthernetFrame) -> Option<EthernetFrame> {
        let bits = (frame.len().checked_sub(header_bytes(frame))? as u64) * 8;
        let drawn = self.random.next_u64().checked_rem(bits)?;
        let mut copy = frame.to_vec();
        let byte = header_bytes(frame) + usize::try_from(drawn / 8).ok()?;
        copy[byte] ^= 1 << (drawn % 8);
        Some(Arc::from(copy))
    }
}

fn header_bytes(frame: &[u8]) -> usize {
    let mut bytes = ETHERNET_HEADER_BYTES;
    while frame
        .get(bytes - 2..bytes)
        .is_some_and(|kind| VLAN_TYPES.iter().any(|tag| tag == kind))
    {
        bytes += VLAN_TAG_BYTES;
    }
    bytes
}

/// Returns how long a link needs for some bits.
fn transmission(bits: u64, bits_per_second: u64) -> Duration {
    let nanoseconds = u128::from(bits) * 1_000_000_000 / u128::from(bits_per_second.max(1));
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX / 4))
}
