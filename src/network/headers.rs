//! The headers of a frame, as far as faults and captures look at them.

use std::net::IpAddr;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use serde::{Deserialize, Serialize};

/// A protocol that faults and captures know by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    Tcp,
    Udp,
    /// ICMP of IPv4 and of IPv6, which includes neighbour discovery.
    Icmp,
    Arp,
    /// Any packet of IPv4 or IPv6 that is none of the others.
    Ip,
}

impl Protocol {
    /// Returns the name that messages use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Icmp => "ICMP",
            Self::Arp => "ARP",
            Self::Ip => "IP",
        }
    }
}

/// The headers of one frame. A guest has written the frame: any part can be missing or wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameHeaders {
    pub protocol: Option<Protocol>,
    pub source: Option<IpAddr>,
    pub destination: Option<IpAddr>,
    /// The ports of TCP and UDP; `None` for other protocols and for later fragments of a packet.
    pub ports: Option<FramePorts>,
    pub tcp: Option<TcpSegment>,
}

/// The ports of a TCP or UDP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FramePorts {
    pub source: u16,
    pub destination: u16,
}

/// The part of a TCP header that tells openings, resets and retransmissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpSegment {
    pub sequence: u32,
    /// Bytes of data.
    pub payload_bytes: usize,
    /// SYN without ACK: the first segment of a connection.
    pub opens: bool,
    pub resets: bool,
}

impl FrameHeaders {
    /// Reads the headers of an Ethernet frame, also behind VLAN tags.
    #[must_use]
    pub fn read(frame: &[u8]) -> Self {
        let mut headers = Self::default();
        let Ok(packet) = LaxSlicedPacket::from_ethernet(frame) else {
            return headers;
        };
        match &packet.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                headers.protocol = Some(Protocol::Ip);
                headers.source = Some(ip.header().source_addr().into());
                headers.destination = Some(ip.header().destination_addr().into());
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                headers.protocol = Some(Protocol::Ip);
                headers.source = Some(ip.header().source_addr().into());
                headers.destination = Some(ip.header().destination_addr().into());
            }
            Some(LaxNetSlice::Arp(_)) => headers.protocol = Some(Protocol::Arp),
            None => {}
        }
        headers.read_transport(packet.transport.as_ref());
        headers
    }

    fn read_transport(&mut self, transport: Option<&TransportSlice<'_>>) {
        match transport {
            Some(TransportSlice::Tcp(tcp)) => {
                self.protocol = Some(Protocol::Tcp);
                self.ports = Some(FramePorts {
                    source: tcp.source_port(),
                    destination: tcp.destination_port(),
                });
                self.tcp = Some(TcpSegment {
                    sequence: tcp.sequence_number(),
                    payload_bytes: tcp.payload().len(),
                    opens: tcp.syn() && !tcp.ack(),
                    resets: tcp.rst(),
                });
            }
            Some(TransportSlice::Udp(udp)) => {
                self.protocol = Some(Protocol::Udp);
                self.ports = Some(FramePorts {
                    source: udp.source_port(),
                    destination: udp.destination_port(),
                });
            }
            Some(TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_)) => {
                self.protocol = Some(Protocol::Icmp);
            }
            Some(TransportSlice::Igmp(_)) | None => {}
        }
    }
}

#[cfg(test)]
pub mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    /// Returns a TCP segment over IPv4, from 10.0.0.1 to 10.0.0.2.
    pub fn tcp_frame(source: u16, destination: u16, syn: Toggle) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(source, destination, 7, 1000);
        let builder = if syn == Toggle::On {
            builder.syn()
        } else {
            builder
        };
        let mut frame = Vec::new();
        builder.write(&mut frame, b"data").unwrap();
        frame
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Toggle {
        On,
        Off,
    }

    #[test]
    fn tcp_behind_a_vlan_tag_is_read() {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .single_vlan(7.try_into().unwrap())
            .ipv6([1; 16], [2; 16], 64)
            .udp(53, 1024)
            .write(&mut frame, b"x")
            .unwrap();
        let headers = FrameHeaders::read(&frame);
        assert_eq!(headers.protocol, Some(Protocol::Udp));
        assert_eq!(headers.source, Some(IpAddr::from([1; 16])));
        let ports = FramePorts {
            source: 53,
            destination: 1024,
        };
        assert_eq!(headers.ports, Some(ports));
    }

    #[test]
    fn no_frame_of_a_guest_ends_the_switch() {
        let whole = tcp_frame(1, 2, Toggle::On);
        for end in 0..whole.len() {
            let _ = FrameHeaders::read(&whole[..end]);
        }
        for byte in 0..whole.len() {
            for value in [0, 1, 0x45, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[byte] = value;
                let _ = FrameHeaders::read(&changed);
            }
        }
        assert_eq!(FrameHeaders::read(&[]), FrameHeaders::default());
    }
}
