//! Virtual networks: a switch for each, that machines attach to by sockets.

mod cards;
mod interface;
mod links;
mod stream;
mod switch;
mod vde;

use std::io;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use interface::{SWITCH_END, interface_request};
pub use links::{Link, Links};
pub use switch::Switch;

use crate::folders::create_private;

/// A machine, or something else, that could not attach to a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkFault {
    pub network: u32,
    /// The process at the other end, if the kernel knows it.
    pub pid: Option<i32>,
    pub reason: String,
}

/// Where faults are reported.
pub type Faults = mpsc::UnboundedSender<NetworkFault>;

/// Reports a fault of a connection to a network.
fn report(faults: &Faults, network: u32, connection: &UnixStream, reason: &dyn std::fmt::Display) {
    let peer = connection.peer_cred().ok();
    // There is no receiver once the test is over.
    let _ = faults.send(NetworkFault {
        network,
        pid: peer.and_then(|peer| peer.pid()),
        reason: reason.to_string(),
    });
}

/// One network. Ends when it is dropped.
#[derive(Debug)]
pub struct Network {
    number: u32,
    folder: PathBuf,
    tasks: Vec<JoinHandle<()>>,
}

impl Network {
    /// Opens network `number`, with its sockets below `folder`. Cards of containers
    /// follow `links`. What cannot be attached is reported to `faults`.
    ///
    /// # Errors
    /// When a socket cannot be made, for instance where its path is too long.
    pub fn open(folder: &Path, number: u32, links: Links, faults: Faults) -> io::Result<Self> {
        let folder = folder.join(format!("vde{number}.ctl"));
        create_private(&folder)?;
        let switch = Switch::default();
        let stream = UnixListener::bind(folder.join("stream"))?;
        let control = UnixListener::bind(folder.join("ctl"))?;
        let cards = UnixListener::bind(folder.join("cards"))?;
        let tasks = vec![
            tokio::spawn(cards::serve(
                cards,
                switch.clone(),
                links,
                number,
                faults.clone(),
            )),
            tokio::spawn(stream::serve(
                stream,
                switch.clone(),
                number,
                faults.clone(),
            )),
            tokio::spawn(vde::serve(control, folder.clone(), switch, number, faults)),
        ];
        Ok(Self {
            number,
            folder,
            tasks,
        })
    }

    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// What run scripts take as `QEMU_VDE_SOCKET_<number>`.
    #[must_use]
    pub fn vde_folder(&self) -> &Path {
        &self.folder
    }

    /// What containers pass the ends of their cards to.
    #[must_use]
    pub fn card_socket(&self) -> PathBuf {
        self.folder.join("cards")
    }

    /// What our own run scripts take as `SNOWGLOBE_STREAM_SOCKET_<number>`.
    #[must_use]
    pub fn stream_socket(&self) -> PathBuf {
        self.folder.join("stream")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
