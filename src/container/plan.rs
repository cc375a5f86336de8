//! What the process of a container is started with.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::manifest::RootLife;

/// One machine. Paths are the host's, except for those that say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub name: String,
    pub host_name: String,
    /// The process that keeps the run's namespace.
    pub keeper: u32,
    /// The keeper's folder.
    pub trees: PathBuf,
    /// The name of the machine's root in it.
    pub tree: String,
    /// The guest's first program, and its arguments, in the guest.
    pub init: Vec<String>,
    /// A program of the store that prepares the root, which it gets as `root`, before `init` runs.
    pub activation: Option<PathBuf>,
    pub root_life: RootLife,
    /// How much the guest can write in a boot whose root ends with it, in MiB.
    pub size_mib: u64,
    pub cards: Vec<Card>,
    /// Where the driver listens for the guest's lines.
    pub folder: PathBuf,
    /// The folder that all guests share.
    pub shared: PathBuf,
    /// The folder that this guest alone has.
    pub exchange: PathBuf,
    /// The control group that the guest's services are in.
    pub cgroup: Option<PathBuf>,
    pub on_restart: OnRestart,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// In the guest.
    pub name: String,
    pub mac: String,
    /// The socket of its network, which takes the tap; None leads nowhere.
    pub network: Option<PathBuf>,
}

/// What follows when the guest restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRestart {
    End,
    BootAgain,
}
