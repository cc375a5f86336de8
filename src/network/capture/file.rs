//! Writes captures as pcapng files, which Wireshark and tshark open.

use std::borrow::Cow;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness, PcapError};

use super::CapturedFrame;

/// The exponent of the time's unit: nanoseconds.
const TIME_RESOLUTION: u8 = 9;

/// The flag of a frame that its interface has sent.
const OUTBOUND: u32 = 2;

/// A text at the frame after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureComment {
    pub time: SystemTime,
    pub text: String,
}

/// Writes frames in the order of their times. Each machine has an interface for each network, and each comment is at the
/// next frame, or at the last one if there is none.
///
/// # Errors
/// Returns an error if the file cannot be written.
pub fn write_capture(
    target: impl Write,
    frames: &[CapturedFrame],
    comments: &[CaptureComment],
) -> Result<(), PcapError> {
    let section = SectionHeaderBlock {
        endianness: Endianness::native(),
        options: vec![SectionHeaderOption::UserApplication(Cow::Borrowed(
            "Snowglobe",
        ))],
        ..Default::default()
    };
    let mut writer = PcapNgWriter::with_section_header(target, section)?;
    let mut interfaces: Vec<(Option<Arc<str>>, u32)> = Vec::new();
    let mut comments = comments.iter().peekable();
    for (place, captured) in frames.iter().enumerate() {
        let sender = (captured.sender.clone(), captured.network);
        let known = interfaces.iter().position(|interface| *interface == sender);
        let interface = known.unwrap_or(interfaces.len());
        if known.is_none() {
            writer.write_pcapng_block(interface_block(&sender))?;
            interfaces.push(sender);
        }
        let is_last = place + 1 == frames.len();
        let mut options = vec![EnhancedPacketOption::Flags(OUTBOUND)];
        while let Some(comment) =
            comments.next_if(|comment| is_last || comment.time <= captured.time)
        {
            options.push(EnhancedPacketOption::Comment(Cow::Borrowed(&comment.text)));
        }
        if !captured.lost_for.is_empty() {
            let text = format!("lost by a fault: not for {}", captured.lost_for.join(", "));
            options.push(EnhancedPacketOption::Comment(Cow::Owned(text)));
        }
        writer.write_pcapng_block(EnhancedPacketBlock {
            interface_id: u32::try_from(interface).unwrap_or(u32::MAX),
            timestamp: since_epoch(captured.time),
            original_len: u32::try_from(captured.frame.len()).unwrap_or(u32::MAX),
            data: Cow::Borrowed(&captured.frame),
            options,
        })?;
    }
    Ok(())
}

fn interface_block((machine, network): &(Option<Arc<str>>, u32)) -> InterfaceDescriptionBlock<'_> {
    let machine = machine.as_deref().unwrap_or("unknown machine");
    InterfaceDescriptionBlock {
        linktype: DataLink::ETHERNET,
        snaplen: 0,
        options: vec![
            InterfaceDescriptionOption::IfName(Cow::Owned(format!("{machine} vlan{network}"))),
            InterfaceDescriptionOption::IfTsResol(TIME_RESOLUTION),
        ],
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use pcap_file::pcapng::{Block, PcapNgReader};

    use super::super::tests::captured;
    use super::*;

    #[test]
    fn comments_are_at_the_next_frame() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut frames = vec![captured(&[1; 60]), captured(&[2; 60])];
        frames[0].time = at(1);
        frames[1].time = at(3);
        frames[1].sender = Some("b".into());
        frames[1].lost_for = vec!["a".into()];
        let comment = |seconds, text: &str| CaptureComment {
            time: at(seconds),
            text: text.to_owned(),
        };
        let comments = [comment(2, "subtest: x"), comment(9, "the end")];
        let mut file = Vec::new();
        write_capture(&mut file, &frames, &comments).unwrap();
        let mut reader = PcapNgReader::new(&file[..]).unwrap();
        let mut seen = Vec::new();
        while let Some(block) = reader.next_block() {
            match block.unwrap() {
                Block::InterfaceDescription(block) => seen.push(format!("{:?}", block.options[0])),
                Block::EnhancedPacket(block) => {
                    let options = block.options.iter().filter_map(|option| match option {
                        EnhancedPacketOption::Comment(text) => Some(text.to_string()),
                        _ => None,
                    });
                    let (id, time) = (block.interface_id, block.timestamp.as_secs());
                    seen.push(format!("{id} {time} {:?}", options.collect::<Vec<_>>()));
                }
                _ => {}
            }
        }
        let expected = [
            r#"IfName("a vlan1")"#,
            "0 1 []",
            r#"IfName("b vlan1")"#,
            r#"1 3 ["subtest: x", "the end", "lost by a fault: not for a"]"#,
        ];
        assert_eq!(seen, expected);
    }
}
