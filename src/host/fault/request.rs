//! Faults as a script asks for them.

use serde::{Deserialize, Serialize};

use crate::model::quantity::{ByteSize, Fraction};
use crate::network::{FaultId, FrameMatch, LinkEffects};

/// A call about a fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultCall {
    /// Begins a fault; the result is its number.
    Begin(Box<FaultRequest>),
    /// Ends a fault; the result is its counts.
    End(FaultId),
    Counts(FaultId),
}

/// A fault. Machines are named by their nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultRequest {
    /// A fault of links between machines, each in one direction.
    Link {
        /// Stands for the links in messages.
        label: String,
        links: Vec<(String, String)>,
        /// The only network of the fault; `None` for all that the machines share.
        network: Option<u32>,
        effects: LinkEffects,
        #[serde(default)]
        matching: FrameMatch,
    },
    /// No packet passes between machines.
    Partition {
        label: String,
        links: Vec<(String, String)>,
    },
    /// The cable of a machine is out of its network card.
    Unplugged { machine: String, network: u32 },
    /// The processors of a machine stand still.
    Paused { machine: String },
    /// The processors of a machine run for a part of the time.
    SlowProcessor { machine: String, speed: Fraction },
    /// A part of the memory of a guest is taken.
    MemoryPressure { machine: String, size: ByteSize },
    /// The system clock of a guest goes at another rate.
    ClockDrift { machine: String, factor: f64 },
    /// A disk is slow. Zero is no limit.
    DiskThrottle {
        machine: String,
        disk: String,
        iops: u64,
        bps: Option<ByteSize>,
    },
    /// Reads or writes of a disk fail, or both.
    DiskFailure {
        machine: String,
        disk: String,
        read: bool,
        write: bool,
    },
    /// The file system of a disk has no room.
    DiskFull { machine: String, disk: String },
}

impl FaultRequest {
    /// Returns the fault in words.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Link {
                label,
                network,
                effects,
                matching,
                ..
            } => {
                let on = network.map_or(String::new(), |number| format!(" on vlan{number}"));
                let about = if matching.is_of_all() {
                    String::new()
                } else {
                    format!(" ({matching})")
                };
                format!("{label}{on}{about}: {effects}")
            }
            Self::Partition { label, .. } => label.clone(),
            Self::Unplugged { machine, network } => {
                format!("{machine}: cable of vlan{network} unplugged")
            }
            Self::Paused { machine } => format!("{machine}: paused"),
            Self::SlowProcessor { machine, speed } => {
                format!("{machine}: processors run {speed} of the time")
            }
            Self::MemoryPressure { machine, size } => format!("{machine}: {size} of memory taken"),
            Self::ClockDrift { machine, factor } => {
                format!("{machine}: clock goes {factor} times as fast")
            }
            Self::DiskThrottle {
                machine,
                disk,
                iops,
                bps,
            } => {
                let requests = (*iops > 0).then(|| format!(" {iops} requests/s"));
                let bytes = bps.as_ref().map(|bytes| format!(" {bytes}B/s"));
                let limits: Vec<String> = requests.into_iter().chain(bytes).collect();
                format!("{machine}: disk {disk} limited to{}", limits.join(","))
            }
            Self::DiskFailure {
                machine,
                disk,
                read,
                write,
            } => {
                let what = match (read, write) {
                    (true, true) => "reads and writes",
                    (true, false) => "reads",
                    (false, _) => "writes",
                };
                format!("{machine}: {what} of disk {disk} fail")
            }
            Self::DiskFull { machine, disk } => format!("{machine}: disk {disk} full"),
        }
    }

    /// Returns the nodes whose machines are in the fault, each once.
    #[must_use]
    pub fn nodes(&self) -> Vec<&str> {
        let mut nodes: Vec<&str> = match self {
            Self::Link { links, .. } | Self::Partition { links, .. } => links
                .iter()
                .flat_map(|(from, to)| [from.as_str(), to.as_str()])
                .collect(),
            Self::Unplugged { machine, .. }
            | Self::Paused { machine }
            | Self::SlowProcessor { machine, .. }
            | Self::MemoryPressure { machine, .. }
            | Self::ClockDrift { machine, .. }
            | Self::DiskThrottle { machine, .. }
            | Self::DiskFailure { machine, .. }
            | Self::DiskFull { machine, .. } => vec![machine],
        };
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }
}
