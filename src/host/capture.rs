//! Captures of networks: those that a script begins, and the one of a run.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::call_error::CallError;
use super::{Host, free_name, lock};
use crate::machine::Seconds;
use crate::model::event::{Event, Level, Verdict};
use crate::network::{
    CaptureComment, CaptureFilter, CaptureId, CapturedFrames, FrameMatch, Network, conversations,
    write_capture,
};
use crate::output_folder;

/// The file of the last packets of all networks, in the output folder.
const NETWORK_CAPTURE: &str = "network.pcapng";

/// The folder of the captures that a script has begun, in the output folder.
const CAPTURES: &str = "captures";

/// Comments that a capture has at most: those of later subtests and faults are left out.
const MOST_COMMENTS: usize = 10_000;

/// Packets of a capture that a message describes.
const DESCRIBED_PACKETS: usize = 3;

/// Bytes of the last packets of each network that a run keeps in memory.
const LAST_BYTES: usize = 4 << 20;

/// Bytes of the last packets of each network, for runs whose packets are always saved.
const LAST_BYTES_IF_SAVED: usize = 256 << 20;

/// Whether the packets of a run are saved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum CaptureMode {
    /// The last packets before the end, up to 256 MiB of each network.
    Always,
    /// The last packets before the end, up to 4 MiB of each network, if the test fails.
    #[default]
    OnFailure,
    Never,
}

impl CaptureMode {
    /// Whether the packets of a test with this verdict are saved.
    #[must_use]
    pub fn saves(self, verdict: Verdict) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => matches!(verdict, Verdict::Failed | Verdict::Error),
            Self::Never => false,
        }
    }

    /// Returns the bytes that a network keeps in memory; `None` if it keeps nothing.
    #[must_use]
    pub fn kept_bytes(self) -> Option<usize> {
        match self {
            Self::Always => Some(LAST_BYTES_IF_SAVED),
            Self::OnFailure => Some(LAST_BYTES),
            Self::Never => None,
        }
    }
}

/// The packets that a script asks for. Machines are named by their nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PacketFilter {
    sender: Option<String>,
    receiver: Option<String>,
    matching: FrameMatch,
}

/// A call about a capture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CaptureCall {
    /// Begins a capture of a network; the result is its number.
    Begin {
        network: u32,
        name: String,
    },
    /// Ends a capture; the result is the path of its file.
    End {
        id: CaptureId,
    },
    WaitFor {
        id: CaptureId,
        filter: PacketFilter,
        count: usize,
        timeout: Seconds,
    },
    Count {
        id: CaptureId,
        filter: PacketFilter,
    },
}

/// The captures of a run.
#[derive(Debug, Default)]
pub(super) struct RunCaptures {
    begun: AtomicU64,
    /// The network and the name of each capture.
    names: Mutex<BTreeMap<CaptureId, (u32, String)>>,
    comments: Mutex<Vec<CaptureComment>>,
}

impl RunCaptures {
    /// Adds a comment to the next packet.
    pub fn comment(&self, text: String) {
        let mut comments = lock(&self.comments);
        if comments.len() < MOST_COMMENTS {
            let time = SystemTime::now();
            comments.push(CaptureComment { time, text });
        }
    }
}

impl Host {
    /// Makes a call about a capture.
    pub(super) async fn make_capture_call(&self, call: CaptureCall) -> Result<Value, CallError> {
        Ok(match call {
            CaptureCall::Begin { network, name } => json!(self.begin_capture(network, &name)?),
            CaptureCall::End { id } => json!(self.end_capture(id)?),
            CaptureCall::WaitFor {
                id,
                filter,
                count,
                timeout,
            } => json!(self.wait_for_captured(id, &filter, count, timeout).await?),
            CaptureCall::Count { id, filter } => self.count_captured(id, &filter)?,
        })
    }

    /// Begins a capture of a network, and returns its number.
    ///
    /// # Errors
    /// Returns an error if no file can have this name.
    fn begin_capture(&self, network: u32, name: &str) -> Result<CaptureId, CallError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty()
            || name.len() > 100
            || name.starts_with('.')
            || !name.chars().all(is_plain)
        {
            return Err(CallError::value(format!(
                "{name:?} cannot be the name of a capture: letters, digits, `-`, `_` and `.` can be in it"
            )));
        }
        let id = self.captures.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let mut names = lock(&self.captures.names);
        let own = free_name(name, |wanted| {
            names.values().any(|(_, name)| name == wanted)
        });
        names.insert(id, (network, own));
        if let Some(network) = self.network(network) {
            network.switch().begin_capture(id);
        }
        Ok(id)
    }

    /// Ends a capture and saves its packets; returns the path of the file. A capture that has ended already has none.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    fn end_capture(&self, id: CaptureId) -> Result<Option<PathBuf>, CallError> {
        let Some((network, name)) = lock(&self.captures.names).get(&id).cloned() else {
            return Ok(None);
        };
        let captured = self.network(network);
        let Some(captured) = captured.and_then(|network| network.switch().end_capture(id)) else {
            return Ok(None);
        };
        let name = format!("{name}.pcapng");
        let path = self.save_packets(Some(CAPTURES), &name, &captured)?;
        self.events.emit(Event::FileSaved { path: path.clone() });
        Ok(Some(path))
    }

    /// Ends the captures that the script has left.
    pub fn end_captures(&self) {
        let left: Vec<CaptureId> = lock(&self.captures.names).keys().copied().collect();
        for id in left {
            if let Err(error) = self.end_capture(id) {
                self.events.note(Level::Warning, error.message);
            }
        }
    }

    /// Waits until a capture has so many packets that the filter accepts.
    ///
    /// # Errors
    /// Returns an error if the timeout passes, or the capture has ended before.
    async fn wait_for_captured(
        &self,
        id: CaptureId,
        filter: &PacketFilter,
        wanted: usize,
        timeout: Seconds,
    ) -> Result<(), CallError> {
        let (network, name) = self.begun_capture(id)?;
        let filter = self.capture_filter(filter)?;
        let packets = network.switch().wait_for_captured(id, &filter, wanted);
        match tokio::time::timeout(timeout.duration(), packets).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(CallError::assertion(format!(
                "the capture {name:?} has ended, and has fewer than {wanted} such packets"
            ))),
            Err(_) => {
                let count = network.switch().captured(id, &filter, 0);
                let count = count.map_or(0, |(count, _)| count);
                Err(CallError::assertion(format!(
                    "waiting for packets in the capture {name:?} took longer than {timeout} s: {count} of {wanted} came"
                )))
            }
        }
    }

    /// Returns the count of the packets of a capture that the filter accepts, and a description of the first ones.
    ///
    /// # Errors
    /// Returns an error if there is no such capture.
    fn count_captured(&self, id: CaptureId, filter: &PacketFilter) -> Result<Value, CallError> {
        let (network, name) = self.begun_capture(id)?;
        let filter = self.capture_filter(filter)?;
        let found = network.switch().captured(id, &filter, DESCRIBED_PACKETS);
        let (count, first) = found.ok_or_else(|| unknown(&name))?;
        let first: Vec<String> = first.iter().map(ToString::to_string).collect();
        Ok(json!({ "count": count, "first": first }))
    }

    fn begun_capture(&self, id: CaptureId) -> Result<(&Network, String), CallError> {
        let known = lock(&self.captures.names).get(&id).cloned();
        let (number, name) = known.ok_or_else(|| unknown("?"))?;
        let network = self.network(number).ok_or_else(|| unknown(&name))?;
        Ok((network, name))
    }

    fn capture_filter(&self, filter: &PacketFilter) -> Result<CaptureFilter, CallError> {
        let machine = |node: &Option<String>| {
            let found = node.as_deref().map(|node| self.named(node)).transpose();
            Ok::<_, CallError>(found?.map(|machine| machine.name().into()))
        };
        Ok(CaptureFilter {
            sender: machine(&filter.sender)?,
            receiver: machine(&filter.receiver)?,
            matching: filter.matching.clone(),
        })
    }

    /// Saves the last packets of all networks, if machines have sent any to each other; returns the path of the file.
    pub fn save_last_packets(&self) -> Option<PathBuf> {
        let mut all = CapturedFrames::default();
        for network in &*self.networks {
            let last = network.switch().last_frames();
            all.missing += last.missing;
            all.frames.extend(last.frames);
        }
        if all
            .frames
            .iter()
            .all(|captured| captured.receiver.is_none())
        {
            return None;
        }
        all.frames.sort_by_key(|captured| captured.time);
        match self.save_packets(None, NETWORK_CAPTURE, &all) {
            Ok(path) => {
                self.events.emit(Event::CaptureSaved {
                    path: path.clone(),
                    packets: all.frames.len() as u64,
                    missing: all.missing,
                    conversations: conversations(&all.frames),
                });
                Some(path)
            }
            Err(error) => {
                self.events.note(Level::Warning, error.message);
                None
            }
        }
    }

    fn save_packets(
        &self,
        folder: Option<&str>,
        name: &str,
        captured: &CapturedFrames,
    ) -> Result<PathBuf, CallError> {
        let mut content = Vec::new();
        let comments = lock(&self.captures.comments);
        let written = write_capture(&mut content, &captured.frames, &comments);
        drop(comments);
        let output = output_folder::open(&self.output_folder);
        let failed = |error: &dyn std::fmt::Display| {
            CallError::machine(format!("the capture {name} cannot be saved: {error}"))
        };
        written.map_err(|error| failed(&error))?;
        let below = Path::new(folder.unwrap_or(""));
        let folder = output.and_then(|output| output.descend(below));
        let folder = folder.map_err(|error| failed(&error))?;
        output_folder::write_whole_in(&folder, OsStr::new(name), &content)
            .map_err(|error| failed(&error))?;
        Ok(folder.path().join(name))
    }
}

fn unknown(name: &str) -> CallError {
    CallError::value(format!("there is no capture {name:?}"))
}
