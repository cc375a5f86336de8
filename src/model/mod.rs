//! Plain data that everything else speaks of: manifests, events and outcomes.
//!
//! Imports nothing of this crate.

pub mod bounded;
pub mod conversation;
pub mod event;
pub mod failed_units;
pub mod fault_counts;
pub mod manifest;
pub mod outcome;
pub mod quantity;
