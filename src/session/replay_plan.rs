//! The part of a run that earlier ones decide: its starting point, and why it is cold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::input::{ReplayMode, TestInput, accelerators};
use crate::backends;
use crate::checkpoint::{
    Checkpoint, CheckpointStore, NoRecording, RunScripts, Slot, SlotAccess, SlotKey,
    StoredRecording,
};
use crate::event_bus::Events;
use crate::host::Host;
use crate::machine::LOSES_UNFLUSHED;
use crate::model::event::Event;
use crate::model::manifest::{BackendKind, Guest, Manifest};
use crate::qemu::{HostAccelerator, program_for};
use crate::replay::{Recording, Replay, Restart, ScriptCheckpoints, SystemSwitch, may_rewind};

/// Variables that QEMU's arguments come from.
const VARIABLES: [&str; 3] = ["QEMU_OPTS", "QEMU_NET_OPTS", "QEMU_KERNEL_PARAMS"];

/// The starting point of a run.
#[derive(Debug)]
pub(super) enum ReplayPlan {
    NotApplicable,
    /// Why, if the user should know.
    Cold(Option<String>),
    /// The machines boot, and the run is recorded; why, if the user should know. The calls of these digests gave other
    /// results when they were repeated.
    Recording(Arc<Slot>, Option<String>, BTreeSet<String>),
    /// The calls are answered as long as they are those of the last run.
    Replaying(Arc<Slot>, Recording),
    /// The same, and restored machines are switched to other systems then.
    Redeploying(Arc<Slot>, Recording, Vec<SystemSwitch>),
}

impl ReplayPlan {
    pub fn of(input: &TestInput) -> Self {
        let (manifest, host) = (&input.manifest, &input.host);
        match input.settings.replay {
            ReplayMode::NotApplicable => return Self::NotApplicable,
            ReplayMode::Disabled => return Self::Cold(None),
            ReplayMode::Enabled | ReplayMode::Beside => {}
        }
        let access = match input.settings.replay {
            ReplayMode::Beside => SlotAccess::Shared,
            _ => SlotAccess::Alone,
        };
        if let Some(folder) = &input.settings.disks_from {
            let reason = format!("the disks are those of {}", folder.display());
            return Self::Cold(Some(reason));
        }
        if input.script.script().contains(LOSES_UNFLUSHED) {
            let reason = "its disks lose unflushed writes, which no checkpoint saves".to_owned();
            return Self::Cold(Some(reason));
        }
        if let Some(reason) = not_saved(manifest) {
            return Self::Cold(Some(reason));
        }
        let Some(store) = CheckpointStore::own() else {
            return Self::Cold(Some("there is no home folder for checkpoints".to_owned()));
        };
        let key = key(manifest, host);
        let slot = match store.open(key.clone(), machines(manifest), access) {
            Err(error) => return Self::Cold(Some(error.to_string())),
            Ok(slot) => Arc::new(slot),
        };
        let reason = match slot.read() {
            // A machine that has changed is at no checkpoint of the recording.
            Ok(StoredRecording { changed, .. })
                if !changed.is_empty() && may_rewind(input.script.script()) =>
            {
                Some(NoRecording::Changed(changed))
            }
            Ok(recording) => match &input.settings.from {
                None => return Self::Replaying(slot, recording),
                Some(name) => match recording.up_to(name) {
                    Ok(recording) => return Self::Replaying(slot, recording),
                    Err(reason) => Some(reason),
                },
            },
            Err(NoRecording::FirstRun) => store.last_elsewhere(&key),
            Err(reason) => Some(reason),
        };
        let reason = reason.map(|reason| reason.to_string());
        if slot.is_shared() {
            return Self::Cold(reason);
        }
        Self::Recording(slot, reason, BTreeSet::new())
    }

    /// Returns the plan for a run that cannot continue from its recording, in which the calls of these digests cannot be
    /// repeated.
    pub fn cold(self, reason: String, unrepeatable: Option<String>) -> Self {
        match self {
            Self::Replaying(slot, _) if slot.is_shared() => Self::Cold(Some(reason)),
            Self::Replaying(slot, recording) => {
                let mut known = recording.unrepeatable;
                known.extend(unrepeatable);
                Self::Recording(slot, Some(reason), known)
            }
            other => other,
        }
    }

    /// Whether a later run can begin with what this one does.
    pub fn is_recorded(&self) -> bool {
        matches!(self, Self::Recording(..) | Self::Replaying(..))
    }

    /// Whether the recording stays as it is: other runs use it, or the machines are not what it says.
    pub fn leaves_recording(&self) -> bool {
        match self {
            Self::Replaying(slot, _) => slot.is_shared(),
            Self::Redeploying(..) => true,
            Self::NotApplicable | Self::Cold(_) | Self::Recording(..) => false,
        }
    }

    /// Returns the plan that switches restored machines to other systems, from the first checkpoint that has them all;
    /// `None` if there is none.
    pub fn redeploying(self, switches: Vec<SystemSwitch>) -> Option<Self> {
        let Self::Replaying(slot, recording) = self else {
            return None;
        };
        let has_all = |checkpoint: &Checkpoint| {
            let mut machines = switches.iter().map(|switch| &switch.machine);
            machines.all(|machine| checkpoint.machines.contains_key(machine))
        };
        let first = recording.checkpoints.iter().position(has_all)?;
        let mut recording = recording.up_to_number(first);
        recording.obstacle = Some("machines are switched to other systems".to_owned());
        Some(Self::Redeploying(slot, recording, switches))
    }

    /// Returns the recording of the last run, if the run begins with it.
    pub fn recording(&self) -> Option<(Arc<Slot>, &Recording)> {
        match self {
            Self::Replaying(slot, recording) => Some((slot.clone(), recording)),
            Self::NotApplicable | Self::Cold(_) | Self::Recording(..) | Self::Redeploying(..) => {
                None
            }
        }
    }

    /// Emits the starting point, now or when it is known.
    pub fn emit(&self, events: &Events) {
        let reason = match self {
            Self::NotApplicable => return,
            Self::Replaying(..) | Self::Redeploying(..) => return events.hold_back(),
            Self::Cold(reason) | Self::Recording(_, reason, _) => reason.clone(),
        };
        events.emit(Event::Begun {
            checkpoint: None,
            reason,
        });
    }

    pub fn replay(
        &self,
        input: &TestInput,
        host: Arc<Host>,
        checkpoints: Arc<ScriptCheckpoints>,
        restarts: mpsc::UnboundedSender<Restart>,
    ) -> Replay {
        match self {
            Self::NotApplicable | Self::Cold(_) => Replay::none(host, checkpoints),
            Self::Recording(slot, _, unrepeatable) => {
                let recording = Recording {
                    unrepeatable: unrepeatable.clone(),
                    wanted: input.settings.from.clone(),
                    ..Recording::default()
                };
                Replay::recording(host, slot.clone(), recording, checkpoints)
            }
            Self::Replaying(slot, recording) => {
                let slot = slot.clone();
                let beside = "the run is one of several from it".to_owned();
                let recording = Recording {
                    wanted: input.settings.from.clone(),
                    obstacle: slot.is_shared().then_some(beside),
                    ..recording.clone()
                };
                Replay::replaying(host, slot, recording, checkpoints, restarts)
            }
            Self::Redeploying(slot, recording, switches) => {
                let (slot, recording) = (slot.clone(), recording.clone());
                Replay::replaying(host, slot, recording, checkpoints, restarts)
                    .switching(switches.clone())
            }
        }
    }
}

/// Emits the starting point of a run that ended before it was known.
pub(super) fn emit_unknown_start(events: &Events) {
    events.release(Event::Begun {
        checkpoint: None,
        reason: None,
    });
}

/// Why the machines of a test cannot be saved, if they cannot.
fn not_saved(manifest: &Manifest) -> Option<String> {
    let mut obstacles: BTreeMap<BackendKind, (&str, Vec<&str>)> = BTreeMap::new();
    for (name, node) in &manifest.nodes {
        let Some(kind) = node.kind() else { continue };
        if let Some(obstacle) = backends::nature(kind).obstacle_to_saving(node) {
            let (_, names) = obstacles.entry(kind).or_insert((obstacle, Vec::new()));
            names.push(name);
        }
    }
    // A container keeps all machines from being saved.
    let (obstacle, names) = obstacles.into_values().next_back()?;
    Some(format!("{} cannot be saved: {obstacle}", names.join(", ")))
}

fn machines(manifest: &Manifest) -> RunScripts {
    let nodes = manifest.nodes.iter();
    nodes
        .filter_map(|(name, node)| Some((name.clone(), node.start_script.clone()?)))
        .collect()
}

/// A file without its store path, which differs after
/// each edit of a flake.
fn in_store_or_not(file: &Path) -> PathBuf {
    match file.strip_prefix("/nix/store") {
        Ok(inside) => inside.iter().skip(1).collect(),
        Err(_) => file.to_owned(),
    }
}

pub(super) fn key(manifest: &Manifest, host: &HostAccelerator) -> SlotKey {
    // A run script of NixOS names the QEMU of its closure.
    let nodes = manifest.nodes.values();
    let with_hosts_qemu = nodes.filter(|node| node.guest != Guest::Nixos);
    let programs: BTreeSet<String> = with_hosts_qemu
        .map(|node| program_for(node.architecture()))
        .collect();
    let kinds: BTreeSet<String> = accelerators(manifest, host)
        .into_iter()
        .map(|(_, choice)| choice.accelerator.to_string())
        .collect();
    SlotKey {
        test: manifest.name.clone(),
        file: in_store_or_not(&manifest.test_script_source.file),
        nodes: manifest.nodes.keys().cloned().collect(),
        vlans: manifest.vlans.clone(),
        qemu: programs.iter().map(|program| version(program)).collect(),
        accelerator: Vec::from_iter(kinds).join(" and "),
        options: VARIABLES
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
            .collect::<BTreeMap<_, _>>(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Returns the version that a QEMU prints; empty if it prints nothing, which the run itself reports.
fn version(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}
