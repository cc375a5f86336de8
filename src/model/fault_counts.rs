//! The effects of a network fault, as numbers.

use serde::{Deserialize, Serialize};

/// The number of frames that a fault has had an effect on. A frame to several machines counts for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FaultCounts {
    /// Frames that the fault is about, whatever has become of them.
    pub matched: u64,
    pub dropped: u64,
    pub delayed: u64,
    pub duplicated: u64,
    pub corrupted: u64,
    pub reordered: u64,
}

impl FaultCounts {
    /// Adds the counts of the same fault on another network.
    pub fn add(&mut self, other: &Self) {
        self.matched += other.matched;
        self.dropped += other.dropped;
        self.delayed += other.delayed;
        self.duplicated += other.duplicated;
        self.corrupted += other.corrupted;
        self.reordered += other.reordered;
    }

    /// Returns the counts that are not zero, in words; an empty text if all are.
    #[must_use]
    pub fn describe(&self) -> String {
        let counts = [
            ("matched", self.matched),
            ("dropped", self.dropped),
            ("delayed", self.delayed),
            ("duplicated", self.duplicated),
            ("corrupted", self.corrupted),
            ("reordered", self.reordered),
        ];
        let parts = counts.into_iter().filter(|(_, count)| *count > 0);
        let parts = parts.map(|(name, count)| format!("{count} {name}"));
        parts.collect::<Vec<_>>().join(", ")
    }
}
