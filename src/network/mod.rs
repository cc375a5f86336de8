//! Virtual networks: a switch for each, that machines attach to by sockets.

mod capture;
mod cards;
mod delay_line;
mod entrance;
mod fault;
mod frame_match;
mod headers;
mod interface;
mod links;
mod queue;
mod stream;
mod switch;
#[cfg(test)]
mod switch_faults;
mod vde;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use capture::{
    CaptureComment, CaptureFilter, CaptureId, CapturedFrame, CapturedFrames, conversations,
    write_capture,
};
pub use entrance::Entrance;
pub use fault::{FaultId, LinkEffects, LinkEnds, LinkFault};
pub use frame_match::FrameMatch;
pub use interface::{SWITCH_END, interface_request};
pub use links::{Link, Links};
pub use queue::EthernetFrame;
pub use switch::Switch;

use crate::folders::create_private;

/// A machine, or something else, that could not attach to a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkFault {
    pub attachment: Attachment,
    /// The process at the other end, if the kernel knows it.
    pub pid: Option<i32>,
    pub reason: String,
}

/// The place that a connection to a network belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    pub network: u32,
    /// The name of the machine; `None` for a connection that no machine was given.
    pub machine: Option<Arc<str>>,
}

/// Where faults are reported.
pub type Faults = mpsc::UnboundedSender<NetworkFault>;

/// Reports a fault of a connection to a network.
fn report(
    faults: &Faults,
    attachment: &Attachment,
    connection: &UnixStream,
    reason: &dyn std::fmt::Display,
) {
    let peer = connection.peer_cred().ok();
    // There is no receiver once the test is over.
    let _ = faults.send(NetworkFault {
        attachment: attachment.clone(),
        pid: peer.and_then(|peer| peer.pid()),
        reason: reason.to_string(),
    });
}

/// One network. Ends when it is dropped.
#[derive(Debug)]
pub struct Network {
    number: u32,
    folder: PathBuf,
    switch: Switch,
    faults: Faults,
    cards: JoinHandle<()>,
    others: Entrance,
    /// By machine.
    entrances: Mutex<BTreeMap<String, Entrance>>,
}

impl Network {
    /// Opens network `number`, with its sockets below `folder`. Cards of containers
    /// follow `links`. Connections that cannot be attached are reported to `faults`. The random numbers of its links come
    /// from `seed`.
    ///
    /// # Errors
    /// Returns an error if a socket cannot be made, for instance because its path is too long.
    pub fn open(
        folder: &Path,
        number: u32,
        links: Links,
        faults: Faults,
        seed: u64,
    ) -> io::Result<Self> {
        let folder = folder.join(format!("vde{number}.ctl"));
        create_private(&folder)?;
        let switch = Switch::new(number, seed);
        let cards = UnixListener::bind(folder.join("cards"))?;
        let cards = cards::serve(cards, switch.clone(), links, number, faults.clone());
        let others = Attachment {
            network: number,
            machine: None,
        };
        Ok(Self {
            number,
            others: Entrance::open(&folder.join("0"), &switch, others, &faults)?,
            cards: tokio::spawn(cards),
            entrances: Mutex::default(),
            folder,
            switch,
            faults,
        })
    }

    /// The number of the network.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The switch that all frames of the network pass.
    #[must_use]
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// Returns the sockets for the virtual machine of this name, and makes them if there are none.
    ///
    /// # Errors
    /// Returns an error if a socket cannot be made.
    pub fn entrance(&self, machine: &str) -> io::Result<Entrance> {
        let mut entrances = self
            .entrances
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(entrance) = entrances.get(machine) {
            return Ok(entrance.clone());
        }
        // Names of machines may be long, and paths of sockets may not.
        let folder = self.folder.join((entrances.len() + 1).to_string());
        let attachment = Attachment {
            network: self.number,
            machine: Some(machine.into()),
        };
        let entrance = Entrance::open(&folder, &self.switch, attachment, &self.faults)?;
        entrances.insert(machine.to_owned(), entrance.clone());
        Ok(entrance)
    }

    /// Returns the sockets for virtual machines that are not said to be on the network.
    #[must_use]
    pub fn entrance_of_others(&self) -> Entrance {
        self.others.clone()
    }

    /// Returns the socket to which containers pass the ends of their cards.
    #[must_use]
    pub fn card_socket(&self) -> PathBuf {
        self.folder.join("cards")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.cards.abort();
    }
}
