//! The frames that a fault or a capture is about.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::headers::{FrameHeaders, Protocol};

/// Conditions on the headers of a frame, all of which must hold. Without any, all frames match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FrameMatch {
    pub protocol: Option<Protocol>,
    /// The port of either side.
    pub port: Option<u16>,
    pub source_port: Option<u16>,
    pub destination_port: Option<u16>,
    pub source: Option<AddressRange>,
    pub destination: Option<AddressRange>,
    /// Whether only first segments of TCP connections match: SYN without ACK.
    pub syn: bool,
}

impl FrameMatch {
    /// Whether a frame with these headers matches.
    #[must_use]
    pub fn accepts(&self, headers: &FrameHeaders) -> bool {
        let ports = headers.ports;
        let has_port = |wanted: u16| {
            ports.is_some_and(|ports| ports.source == wanted || ports.destination == wanted)
        };
        let in_range = |range: &AddressRange, address: Option<IpAddr>| {
            address.is_some_and(|address| range.contains(address))
        };
        let has_source = ports.map(|ports| ports.source);
        let has_destination = ports.map(|ports| ports.destination);
        self.protocol.is_none_or(|wanted| is_of(headers, wanted))
            && self.port.is_none_or(has_port)
            && self.source_port.is_none_or(|port| has_source == Some(port))
            && self
                .destination_port
                .is_none_or(|port| has_destination == Some(port))
            && self
                .source
                .as_ref()
                .is_none_or(|range| in_range(range, headers.source))
            && self
                .destination
                .as_ref()
                .is_none_or(|range| in_range(range, headers.destination))
            && (!self.syn || headers.tcp.is_some_and(|tcp| tcp.opens))
    }

    /// Whether all frames match.
    #[must_use]
    pub fn is_of_all(&self) -> bool {
        *self == Self::default()
    }
}

/// A packet of TCP, UDP or ICMP is one of IP, too.
fn is_of(headers: &FrameHeaders, wanted: Protocol) -> bool {
    match wanted {
        Protocol::Ip => headers.source.is_some(),
        other => headers.protocol == Some(other),
    }
}

/// For people: `TCP port 5432 SYN`.
impl fmt::Display for FrameMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.protocol.map(|protocol| protocol.name().to_owned()));
        parts.extend(self.port.map(|port| format!("port {port}")));
        parts.extend(self.source_port.map(|port| format!("from port {port}")));
        parts.extend(self.destination_port.map(|port| format!("to port {port}")));
        parts.extend(self.source.as_ref().map(|range| format!("from {range}")));
        parts.extend(self.destination.as_ref().map(|range| format!("to {range}")));
        if self.syn {
            parts.push("SYN".to_owned());
        }
        f.write_str(&parts.join(" "))
    }
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no IP address and no range of them, such as 192.168.1.0/24 or 2001:db8:1::/64")]
pub struct AddressError(String);

/// An IP address, or all that begin with the same bits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressRange {
    address: IpAddr,
    /// How many bits count.
    prefix: u8,
}

impl AddressRange {
    fn contains(&self, address: IpAddr) -> bool {
        fn shared(a: u128, b: u128, bits: u8, width: u8) -> bool {
            bits == 0 || (a ^ b) >> (width - bits) == 0
        }
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                shared(a.to_bits().into(), b.to_bits().into(), self.prefix, 32)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => shared(a.to_bits(), b.to_bits(), self.prefix, 128),
            _ => false,
        }
    }
}

impl TryFrom<String> for AddressRange {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.as_str(), None),
        };
        let read = || {
            let address: IpAddr = address.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let prefix = match prefix {
                Some(prefix) => prefix.parse().ok().filter(|bits| *bits <= most)?,
                None => most,
            };
            Some(Self { address, prefix })
        };
        read().ok_or_else(|| AddressError(text.clone()))
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> Self {
        range.to_string()
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.address.is_ipv4() { 32 } else { 128 };
        if self.prefix == whole {
            self.address.fmt(f)
        } else {
            write!(f, "{}/{}", self.address, self.prefix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::headers::tests::{Toggle, tcp_frame};

    fn matches(condition: serde_json::Value, frame: &[u8]) -> bool {
        let condition: FrameMatch = serde_json::from_value(condition).unwrap();
        condition.accepts(&FrameHeaders::read(frame))
    }

    #[test]
    fn all_conditions_must_hold() {
        use serde_json::json;
        let syn = tcp_frame(1024, 5432, Toggle::On);
        let data = tcp_frame(5432, 1024, Toggle::Off);
        assert!(matches(json!({}), &syn) && matches(json!({}), &[0; 20]));
        assert!(matches(
            json!({"protocol": "tcp", "port": 5432, "syn": true}),
            &syn
        ));
        assert!(!matches(
            json!({"protocol": "tcp", "port": 5432, "syn": true}),
            &data
        ));
        assert!(matches(json!({"protocol": "ip", "port": 5432}), &data));
        assert!(!matches(json!({"protocol": "udp"}), &data));
        assert!(matches(json!({"destination_port": 5432}), &syn));
        assert!(!matches(json!({"destination_port": 5432}), &data));
        assert!(matches(json!({"source": "10.0.0.0/24"}), &syn));
        assert!(!matches(json!({"destination": "10.0.0.1"}), &syn));
        assert!(matches(json!({"source": "0.0.0.0/0"}), &syn));
        assert!(!matches(json!({"source": "::/0"}), &syn));
    }

    #[test]
    fn ranges_are_addresses_with_a_prefix() {
        for wrong in [
            "",
            "host",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/-1",
        ] {
            assert!(AddressRange::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
        let range = AddressRange::try_from("2001:db8:1::/64".to_owned()).unwrap();
        assert!(range.contains("2001:db8:1::7".parse().unwrap()));
        assert!(!range.contains("2001:db8:2::7".parse().unwrap()));
        assert_eq!(range.to_string(), "2001:db8:1::/64");
    }
}
