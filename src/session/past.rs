//! What a run has from earlier ones: where it begins, and why it is cold where it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::QEMU;
use crate::checkpoint::{Key, Machines, Memory, Slot, Store};
use crate::event::{Event, Events};
use crate::manifest::{Guest, Manifest};
use crate::qemu::AcceleratorChoice;
use crate::script::{Restart, Tape};

/// Variables that QEMU's arguments come from.
const VARIABLES: [&str; 3] = ["QEMU_OPTS", "QEMU_NET_OPTS", "QEMU_KERNEL_PARAMS"];

/// Whether a run may begin where an earlier one was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// It is asked for, and the next run may use this one.
    Used,
    /// Nothing is used or kept.
    Ignored,
    /// The same, and nothing is told of it: for runs that are never of this kind.
    Unspoken,
}

/// What a run begins with.
#[derive(Debug)]
pub(super) enum Beginning {
    Unspoken,
    /// Why, where that is worth telling.
    Cold(Option<String>),
    /// The machines boot, and the run is recorded.
    Recorded(Arc<Slot>),
    /// The calls are answered as long as they are those of the last run.
    Repeated(Arc<Slot>, Memory),
}

impl Beginning {
    pub fn of(past: Past, manifest: &Manifest, accelerator: &AcceleratorChoice) -> Self {
        match past {
            Past::Unspoken => return Self::Unspoken,
            Past::Ignored => return Self::Cold(None),
            Past::Used => {}
        }
        let unsafe_nodes: Vec<&str> = manifest
            .nodes
            .iter()
            .filter(|(_, node)| !node.snapshot_safe)
            .map(|(name, _)| name.as_str())
            .collect();
        if !unsafe_nodes.is_empty() {
            return Self::Cold(Some(format!(
                "{} cannot be saved: folders of the host are mounted over 9p",
                unsafe_nodes.join(", ")
            )));
        }
        let Some(store) = Store::own() else {
            return Self::Cold(Some("there is no home folder for checkpoints".to_owned()));
        };
        match store.open(key(manifest, accelerator), machines(manifest)) {
            Err(error) => Self::Cold(Some(error.to_string())),
            Ok(slot) => {
                let memory = slot.read();
                let slot = Arc::new(slot);
                if memory.checkpoints.is_empty() {
                    Self::Recorded(slot)
                } else {
                    Self::Repeated(slot, memory)
                }
            }
        }
    }

    /// What follows where the run could not go on from there.
    pub fn cold(self) -> Self {
        match self {
            Self::Repeated(slot, _) => Self::Recorded(slot),
            other => other,
        }
    }

    /// Tells of it, now or as soon as it is known.
    pub fn tell(&self, events: &Events) {
        let reason = match self {
            Self::Unspoken => return,
            Self::Repeated(..) => return events.hold(),
            Self::Cold(reason) => reason.clone(),
            Self::Recorded(_) => None,
        };
        events.tell(Event::Begun {
            checkpoint: None,
            reason,
        });
    }

    pub fn tape(&self, restarts: mpsc::UnboundedSender<Restart>) -> Tape {
        match self {
            Self::Unspoken | Self::Cold(_) => Tape::none(),
            Self::Recorded(slot) => Tape::recording(slot.clone()),
            Self::Repeated(slot, memory) => Tape::replaying(slot.clone(), memory.clone(), restarts),
        }
    }
}

/// Tells of a run that ended before it was known where it begins.
pub(super) fn tell_late(events: &Events) {
    events.release(Event::Begun {
        checkpoint: None,
        reason: None,
    });
}

fn machines(manifest: &Manifest) -> Machines {
    let nodes = manifest.nodes.iter();
    nodes
        .map(|(name, node)| (name.clone(), node.start_script.clone()))
        .collect()
}

/// A file without the store path that it lies in, which is another one after
/// each edit of a flake.
fn in_store_or_not(file: &Path) -> PathBuf {
    match file.strip_prefix("/nix/store") {
        Ok(inside) => inside.iter().skip(1).collect(),
        Err(_) => file.to_owned(),
    }
}

fn key(manifest: &Manifest, accelerator: &AcceleratorChoice) -> Key {
    let own_qemu = manifest
        .nodes
        .values()
        .all(|node| node.guest == Guest::Nixos);
    Key {
        test: manifest.name.clone(),
        file: in_store_or_not(&manifest.test_script_source.file),
        nodes: manifest.nodes.keys().cloned().collect(),
        vlans: manifest.vlans.clone(),
        // A run script of NixOS names the QEMU of its closure.
        qemu: if own_qemu {
            String::new()
        } else {
            qemu_version()
        },
        accelerator: accelerator.accelerator.to_string(),
        options: VARIABLES
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
            .collect::<BTreeMap<_, _>>(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// What QEMU says; empty where it says nothing, which the run itself will tell.
fn qemu_version() -> String {
    let output = Command::new(QEMU).arg("--version").output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}
