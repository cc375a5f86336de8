//! Faults as a script asks for them.

use serde::{Deserialize, Serialize};

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
            Self::Unplugged { machine, .. } => vec![machine],
        };
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }
}
