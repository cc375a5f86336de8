//! The conversations in captured frames: who has talked to whom, with resets and retransmissions.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::CapturedFrame;
use crate::model::conversation::Conversation;
use crate::network::headers::{FrameHeaders, Protocol, TcpSegment};

/// Conversations that a report shows at most: those with the most bytes.
const MOST_CONVERSATIONS: usize = 100;

/// The service of a conversation: who has asked whom, at which port. `None` for protocols without ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ConversationKey {
    protocol: Protocol,
    client: IpAddr,
    server: IpAddr,
    port: Option<u16>,
}

impl ConversationKey {
    /// Returns the key of a frame; `None` for a frame without addresses of IP. The server has the lower port, unless the
    /// frame opens the connection.
    fn of(headers: &FrameHeaders) -> Option<Self> {
        let (source, destination) = (headers.source?, headers.destination?);
        let protocol = headers.protocol?;
        let opens = headers.tcp.is_some_and(|tcp| tcp.opens);
        let from_client = match headers.ports {
            Some(ports) => opens || ports.source >= ports.destination,
            None => source <= destination,
        };
        let (client, server) = if from_client {
            (source, destination)
        } else {
            (destination, source)
        };
        let port = headers.ports.map(|ports| {
            if from_client {
                ports.destination
            } else {
                ports.source
            }
        });
        Some(Self {
            protocol,
            client,
            server,
            port,
        })
    }
}

/// One direction of a TCP connection.
type FlowKey = (IpAddr, u16, IpAddr, u16);

/// Returns the conversations in some frames, those with the most bytes first.
#[must_use]
pub fn conversations(frames: &[CapturedFrame]) -> Vec<Conversation> {
    let mut found: HashMap<ConversationKey, Conversation> = HashMap::new();
    let mut names: HashMap<IpAddr, Arc<str>> = HashMap::new();
    let mut next_bytes: HashMap<FlowKey, u32> = HashMap::new();
    for captured in frames {
        let headers = FrameHeaders::read(&captured.frame);
        let (Some(key), Some(source)) = (ConversationKey::of(&headers), headers.source) else {
            continue;
        };
        if let Some(sender) = &captured.sender {
            names.entry(source).or_insert_with(|| sender.clone());
        }
        let conversation = found.entry(key).or_default();
        conversation.packets += 1;
        conversation.bytes += captured.frame.len() as u64;
        conversation.lost += u64::from(!captured.lost_for.is_empty());
        if let Some(tcp) = headers.tcp {
            conversation.resets += u64::from(tcp.resets);
            let is_again = is_retransmission(&mut next_bytes, &headers, tcp);
            conversation.retransmissions += u64::from(is_again);
        }
    }
    let name = |address: IpAddr| match names.get(&address) {
        Some(name) => format!("{name} ({address})"),
        None => address.to_string(),
    };
    let mut listed: Vec<Conversation> = found
        .into_iter()
        .map(|(key, conversation)| Conversation {
            protocol: key.protocol.name().to_owned(),
            client: name(key.client),
            server: name(key.server),
            port: key.port,
            ..conversation
        })
        .collect();
    listed.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.client.cmp(&b.client)));
    listed.truncate(MOST_CONVERSATIONS);
    listed
}

/// Whether a segment repeats bytes that its sender has sent before.
fn is_retransmission(
    next_bytes: &mut HashMap<FlowKey, u32>,
    headers: &FrameHeaders,
    tcp: TcpSegment,
) -> bool {
    let (Some(source), Some(destination), Some(ports)) =
        (headers.source, headers.destination, headers.ports)
    else {
        return false;
    };
    let length = u32::try_from(tcp.payload_bytes).unwrap_or(0) + u32::from(tcp.opens);
    if length == 0 {
        return false;
    }
    let end = tcp.sequence.wrapping_add(length);
    let flow = (source, ports.source, destination, ports.destination);
    match next_bytes.get_mut(&flow) {
        // Half of all numbers are before one, as in TCP.
        Some(next) if tcp.sequence.wrapping_sub(*next) > u32::MAX / 2 => true,
        Some(next) => {
            *next = end;
            false
        }
        None => {
            next_bytes.insert(flow, end);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::captured;
    use super::*;
    use crate::network::headers::tests::{Toggle, tcp_frame};

    #[test]
    fn both_directions_are_one_conversation() {
        let syn = captured(&tcp_frame(40_000, 5432, Toggle::On));
        let data = captured(&tcp_frame(40_000, 5432, Toggle::Off));
        let mut lost = data.clone();
        lost.lost_for.push("b".into());
        let frames = [syn, data, lost, captured(&[0; 60])];
        let found = conversations(&frames);
        let expected = Conversation {
            protocol: "TCP".to_owned(),
            client: "a (10.0.0.1)".to_owned(),
            server: "10.0.0.2".to_owned(),
            port: Some(5432),
            packets: 3,
            bytes: found[0].bytes,
            resets: 0,
            // The helper's segments all have one sequence number.
            retransmissions: 2,
            lost: 1,
        };
        assert_eq!(found, [expected]);
        assert_eq!(
            found[0].bytes,
            frames[..3]
                .iter()
                .map(|one| one.frame.len() as u64)
                .sum::<u64>()
        );
    }
}
