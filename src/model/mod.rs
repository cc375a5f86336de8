//! Plain data that everything else speaks of: manifests and events.
//!
//! Imports nothing of this crate.

pub mod event;
pub mod manifest;
