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

/// The state of the cards, by the machine and the network of each.
type CardStates = HashMap<(String, u32), watch::Sender<Link>>;

/// The cards of containers, by their machine and network. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Links {
    cards: Arc<Mutex<CardStates>>,
}

impl Links {
    /// Plugs the card of a machine on a network in, or out: the one that it has, and those of its next boots.
    pub fn set(&self, machine: &str, network: u32, link: Link) {
        self.of(machine, network, |sender| {
            sender.send_replace(link);
        });
    }

    /// Returns the link that the card of a machine on a network follows.
    pub(super) fn follow(&self, machine: &str, network: u32) -> watch::Receiver<Link> {
        self.of(machine, network, watch::Sender::subscribe)
    }

    fn of<T>(
        &self,
        machine: &str,
        network: u32,
        work: impl FnOnce(&watch::Sender<Link>) -> T,
    ) -> T {
        let mut cards = self.cards.lock().unwrap_or_else(PoisonError::into_inner);
        work(cards.entry((machine.to_owned(), network)).or_default())
    }
}
