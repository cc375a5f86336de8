//! The frames of a network as they are captured: a ring of the last ones, and captures that a script has begun.

mod conversations;
mod file;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::EthernetFrame;
use super::frame_match::FrameMatch;
use super::headers::{FrameHeaders, Protocol};
pub use conversations::conversations;
pub use file::{CaptureComment, write_capture};

/// The number of a capture that a script has begun.
pub type CaptureId = u64;

/// The bytes that a frame takes beside its own.
const FRAME_OVERHEAD_BYTES: usize = 128;

/// The bytes of frames that a capture of a script keeps. Later frames are counted, and not kept.
const MOST_CAPTURE_BYTES: usize = 256 << 20;

/// A frame that a machine has sent.
#[derive(Debug, Clone)]
pub struct CapturedFrame {
    pub time: SystemTime,
    pub network: u32,
    /// The machine that has sent the frame; `None` for a connection that no machine was given.
    pub sender: Option<Arc<str>>,
    /// The machine that the frame is for; `None` for a frame to all, or to an address that the switch does not know.
    pub receiver: Option<Arc<str>>,
    /// The machines that a fault has kept the frame from.
    pub lost_for: Vec<Arc<str>>,
    pub frame: EthernetFrame,
}

/// For people: `a → b: TCP 10.0.0.1 port 1024 → 10.0.0.2 port 53`.
impl fmt::Display for CapturedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers = FrameHeaders::read(&self.frame);
        let sender = self.sender.as_deref().unwrap_or("unknown machine");
        let receiver = self.receiver.as_deref().unwrap_or("all");
        write!(f, "{sender} → {receiver}: ")?;
        f.write_str(headers.protocol.map_or("another protocol", Protocol::name))?;
        let (Some(source), Some(destination)) = (headers.source, headers.destination) else {
            return Ok(());
        };
        match headers.ports {
            Some(ports) => write!(
                f,
                " {source} port {} → {destination} port {}",
                ports.source, ports.destination
            ),
            None => write!(f, " {source} → {destination}"),
        }
    }
}

/// The conditions of a script on captured frames, all of which must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaptureFilter {
    pub sender: Option<Arc<str>>,
    /// The machine that gets the frame: it is for this machine, and no fault has kept it from it.
    pub receiver: Option<Arc<str>>,
    pub matching: FrameMatch,
}

impl CaptureFilter {
    fn accepts(&self, captured: &CapturedFrame) -> bool {
        let is_sender = |name: &Arc<str>| captured.sender.as_ref() == Some(name);
        let is_receiver = |name: &Arc<str>| {
            captured.receiver.as_ref() == Some(name) && !captured.lost_for.contains(name)
        };
        self.sender.as_ref().is_none_or(is_sender)
            && self.receiver.as_ref().is_none_or(is_receiver)
            && (self.matching.is_of_all()
                || self.matching.accepts(&FrameHeaders::read(&captured.frame)))
    }
}

/// The captures of a network.
#[derive(Debug, Default)]
pub(super) struct NetworkCaptures {
    ring: Option<FrameRing>,
    begun: Vec<ScriptCapture>,
}

/// The last frames of a network, up to some bytes.
#[derive(Debug)]
struct FrameRing {
    frames: VecDeque<CapturedFrame>,
    bytes: usize,
    most_bytes: usize,
    /// How many frames came before those.
    forgotten: u64,
}

/// A capture that a script has begun.
#[derive(Debug)]
struct ScriptCapture {
    id: CaptureId,
    frames: Vec<CapturedFrame>,
    bytes: usize,
    /// How many frames came when there was no room for them.
    surplus: u64,
    /// A frame has come.
    changed: Arc<Notify>,
    state: CaptureState,
}

/// Whether a capture takes further frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CaptureState {
    Open,
    /// The frames stay for the script.
    Ended,
}

/// The frames of a capture that a filter accepts.
#[derive(Debug)]
pub(super) struct CaptureCount {
    pub accepted: usize,
    /// The place after the last frame.
    pub end: usize,
    /// Ends when there are more frames than those counted; `None` if the capture has ended.
    pub changed: Option<OwnedNotified>,
}

/// The frames of a capture, and how many are missing.
#[derive(Debug, Default)]
pub struct CapturedFrames {
    pub frames: Vec<CapturedFrame>,
    /// Frames that there was no room for.
    pub missing: u64,
}

impl NetworkCaptures {
    /// Whether no frame is captured.
    pub fn is_empty(&self) -> bool {
        self.ring.is_none() && self.begun.is_empty()
    }

    /// Keeps the last frames from now on, up to some bytes.
    pub fn keep_last(&mut self, most_bytes: usize) {
        self.ring = Some(FrameRing {
            frames: VecDeque::new(),
            bytes: 0,
            most_bytes,
            forgotten: 0,
        });
    }

    /// Takes a frame.
    pub fn add(&mut self, captured: &CapturedFrame) {
        let open = self.begun.iter_mut();
        for capture in open.filter(|capture| capture.state == CaptureState::Open) {
            let size = size(captured);
            if capture.bytes + size > MOST_CAPTURE_BYTES {
                capture.surplus += 1;
                continue;
            }
            capture.bytes += size;
            capture.frames.push(captured.clone());
            capture.changed.notify_waiters();
        }
        if let Some(ring) = &mut self.ring {
            ring.add(captured.clone());
        }
    }

    /// Begins a capture of a script.
    pub fn begin(&mut self, id: CaptureId) {
        self.begun.push(ScriptCapture {
            id,
            frames: Vec::new(),
            bytes: 0,
            surplus: 0,
            changed: Arc::default(),
            state: CaptureState::Open,
        });
    }

    /// Ends a capture of a script and returns its frames; `None` if there is no such capture, or it has ended.
    pub fn end(&mut self, id: CaptureId) -> Option<CapturedFrames> {
        let capture = self.begun.iter_mut().find(|capture| capture.id == id)?;
        if capture.state == CaptureState::Ended {
            return None;
        }
        capture.state = CaptureState::Ended;
        capture.changed.notify_waiters();
        Some(CapturedFrames {
            frames: capture.frames.clone(),
            missing: capture.surplus,
        })
    }

    /// Counts the frames of a capture that a filter accepts, from a place on; `None` if there is no such capture.
    pub fn count(
        &self,
        id: CaptureId,
        filter: &CaptureFilter,
        from: usize,
    ) -> Option<CaptureCount> {
        let capture = self.begun.iter().find(|capture| capture.id == id)?;
        let frames = capture.frames.get(from..).unwrap_or_default();
        Some(CaptureCount {
            accepted: frames.iter().filter(|frame| filter.accepts(frame)).count(),
            end: capture.frames.len(),
            changed: (capture.state == CaptureState::Open)
                .then(|| capture.changed.clone().notified_owned()),
        })
    }

    /// Returns the count of the frames of a capture that a filter accepts, and the first of them; `None` if there is no such
    /// capture.
    pub fn find(
        &self,
        id: CaptureId,
        filter: &CaptureFilter,
        most: usize,
    ) -> Option<(usize, Vec<CapturedFrame>)> {
        let capture = self.begun.iter().find(|capture| capture.id == id)?;
        let accepted = || capture.frames.iter().filter(|frame| filter.accepts(frame));
        Some((accepted().count(), accepted().take(most).cloned().collect()))
    }

    /// Returns the last frames of the network.
    pub fn last(&self) -> CapturedFrames {
        self.ring
            .as_ref()
            .map_or_else(CapturedFrames::default, |ring| CapturedFrames {
                frames: ring.frames.iter().cloned().collect(),
                missing: ring.forgotten,
            })
    }
}

impl FrameRing {
    fn add(&mut self, captured: CapturedFrame) {
        self.bytes += size(&captured);
        self.frames.push_back(captured);
        while self.bytes > self.most_bytes
            && let Some(oldest) = self.frames.pop_front()
        {
            self.bytes -= size(&oldest);
            self.forgotten += 1;
        }
    }
}

fn size(captured: &CapturedFrame) -> usize {
    captured.frame.len() + FRAME_OVERHEAD_BYTES
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::network::headers::tests::{Toggle, tcp_frame};

    /// Returns a frame of `a` to `b`.
    pub fn captured(frame: &[u8]) -> CapturedFrame {
        CapturedFrame {
            time: SystemTime::UNIX_EPOCH,
            network: 1,
            sender: Some("a".into()),
            receiver: Some("b".into()),
            lost_for: Vec::new(),
            frame: frame.into(),
        }
    }

    #[test]
    fn the_ring_has_an_end() {
        let mut captures = NetworkCaptures::default();
        captures.keep_last(10 * (100 + FRAME_OVERHEAD_BYTES));
        for number in 0..25 {
            captures.add(&captured(&[number; 100]));
        }
        let last = captures.last();
        assert_eq!((last.frames.len(), last.missing), (10, 15));
        assert_eq!(last.frames[9].frame[0], 24);
        // One that is larger than all of it.
        captures.add(&captured(&[0; 9000]));
        assert_eq!(captures.last().missing, 26);
    }

    #[test]
    fn a_frame_that_a_fault_takes_reaches_nobody() {
        let mut captures = NetworkCaptures::default();
        captures.begin(3);
        let mut frame = captured(&tcp_frame(1024, 53, Toggle::On));
        captures.add(&frame);
        frame.lost_for.push("b".into());
        captures.add(&frame);
        let count = |filter: &CaptureFilter, from| {
            let counted = captures.count(3, filter, from).unwrap();
            (counted.accepted, counted.end)
        };
        let mut filter = CaptureFilter::default();
        assert_eq!(count(&filter, 0), (2, 2));
        assert_eq!(count(&filter, 1), (1, 2));
        filter.receiver = Some("b".into());
        assert_eq!(count(&filter, 0), (1, 2));
        filter.matching.port = Some(54);
        assert_eq!(count(&filter, 0), (0, 2));
        assert!(captures.count(4, &filter, 0).is_none());
        assert_eq!(captures.end(3).unwrap().frames.len(), 2);
        assert!(captures.end(3).is_none());
        // The frames stay for the script, and no others come.
        captures.add(&frame);
        assert_eq!(
            captures
                .count(3, &CaptureFilter::default(), 0)
                .unwrap()
                .accepted,
            2
        );
    }
}
