//! Which network cards are plugged in, where the switch decides that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// Whether a network card is plugged in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Link {
    #[default]
    Up,
    Down,
}

/// The cards of containers, by their machine. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Links {
    machines: Arc<Mutex<HashMap<String, watch::Sender<Link>>>>,
}

impl Links {
    /// Plugs the cards of a machine in, or out: those that it has, and those of its next boots.
    pub fn set(&self, machine: &str, link: Link) {
        self.of(machine, |sender| {
            sender.send_replace(link);
        });
    }

    /// Returns the link that a card of the machine follows.
    pub(super) fn follow(&self, machine: &str) -> watch::Receiver<Link> {
        self.of(machine, watch::Sender::subscribe)
    }

    fn of<T>(&self, machine: &str, work: impl FnOnce(&watch::Sender<Link>) -> T) -> T {
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        work(machines.entry(machine.to_owned()).or_default())
    }
}
