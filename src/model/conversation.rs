//! A conversation of two hosts on a network, as reports show it.

use serde::{Deserialize, Serialize};

/// The packets between two hosts of one protocol, and of one port of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Conversation {
    pub protocol: String,
    /// The machine and its address.
    pub client: String,
    pub server: String,
    /// `None` for protocols without ports.
    pub port: Option<u16>,
    pub packets: u64,
    pub bytes: u64,
    /// Segments of TCP that have reset a connection.
    pub resets: u64,
    /// Segments of TCP that have repeated data.
    pub retransmissions: u64,
    /// Packets that a fault has taken.
    pub lost: u64,
}
