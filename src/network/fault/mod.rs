//! Faults of the links between machines: which frames they are about, what becomes of a frame, and how often.

mod direction;
mod effects;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::EthernetFrame;
use super::frame_match::FrameMatch;
use super::headers::FrameHeaders;
use crate::model::fault_counts::FaultCounts;
use direction::Direction;
pub use effects::LinkEffects;

/// The number of a fault, which is another for each fault of a run.
pub type FaultId = u64;

/// A direction of a link: the names of the machine that sends and of the one that receives.
pub type LinkEnds = (Arc<str>, Arc<str>);

/// A fault of some links of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkFault {
    pub links: Vec<LinkEnds>,
    pub effects: LinkEffects,
    pub matching: FrameMatch,
}

/// A frame on its way over a link.
#[derive(Debug, Clone)]
pub(super) struct Passage {
    pub frame: EthernetFrame,
    /// How often the frame arrives.
    pub copies: u32,
    /// When the frame arrives.
    pub due: Instant,
    /// The faults that the frame waits for.
    pub waits_for: Vec<FaultId>,
}

/// The faults of a network, in the order in which they have begun.
#[derive(Debug)]
pub(super) struct LinkFaults {
    seed: u64,
    network: u32,
    active: Vec<ActiveFault>,
    /// How many faults each direction has had.
    begun: HashMap<LinkEnds, u32>,
}

#[derive(Debug)]
struct ActiveFault {
    id: FaultId,
    fault: LinkFault,
    directions: HashMap<LinkEnds, Direction>,
    counts: FaultCounts,
}

impl LinkFaults {
    /// Returns the faults of a network that has none; their random numbers come from `seed`.
    pub fn new(seed: u64, network: u32) -> Self {
        Self {
            seed,
            network,
            active: Vec::new(),
            begun: HashMap::new(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// Begins a fault.
    pub fn begin(&mut self, id: FaultId, fault: LinkFault) {
        let mut directions = HashMap::new();
        for ends in &fault.links {
            let nth = self.begun.entry(ends.clone()).or_default();
            let direction = Direction::new(self.seed, self.network, &ends.0, &ends.1, *nth);
            *nth += 1;
            directions.insert(ends.clone(), direction);
        }
        self.active.push(ActiveFault {
            id,
            fault,
            directions,
            counts: FaultCounts::default(),
        });
    }

    /// Ends a fault and returns its counts; `None` if there is no such fault.
    pub fn end(&mut self, id: FaultId) -> Option<FaultCounts> {
        let place = self.active.iter().position(|active| active.id == id)?;
        Some(self.active.remove(place).counts)
    }

    /// Returns the counts of a fault so far; `None` if there is no such fault.
    pub fn counts(&self, id: FaultId) -> Option<FaultCounts> {
        let found = self.active.iter().find(|active| active.id == id);
        found.map(|active| active.counts)
    }

    /// Whether a fault is about a direction.
    pub fn concern(&self, ends: &LinkEnds) -> bool {
        self.active
            .iter()
            .any(|active| active.directions.contains_key(ends))
    }

    /// Passes a frame through all faults of a direction; `None` if one of them drops it.
    pub fn pass(
        &mut self,
        ends: &LinkEnds,
        frame: &EthernetFrame,
        headers: &FrameHeaders,
        now: Instant,
    ) -> Option<Passage> {
        let mut passage = Passage {
            frame: frame.clone(),
            copies: 1,
            due: now,
            waits_for: Vec::new(),
        };
        for active in &mut self.active {
            let Some(direction) = active.directions.get_mut(ends) else {
                continue;
            };
            if !active.fault.matching.accepts(headers) {
                continue;
            }
            active.counts.matched += 1;
            let arrival = passage.due;
            passage = direction.pass(&active.fault.effects, &mut active.counts, passage)?;
            if passage.due > arrival {
                passage.waits_for.push(active.id);
            }
        }
        Some(passage)
    }
}
