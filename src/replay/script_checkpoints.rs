//! The checkpoints that a script can rewind its machines to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use tokio::sync::Mutex;

use super::recording::Recording;
use crate::checkpoint::{self, Checkpoint, CheckpointKind, Slot};
use crate::host::{CallError, Host};
use crate::machine::{Clock, ConsoleHistory};
use crate::model::event::{Event, round};

/// Checkpoints of one run, by their names. Those that the recording of the run has are used from there.
#[derive(Debug)]
pub struct ScriptCheckpoints {
    /// The folder for those that no recording has.
    scratch: PathBuf,
    /// Whether the script may rewind: what nothing asks for is not saved.
    wanted: AtomicBool,
    /// How many checkpoints have folders.
    saved: AtomicU64,
    /// How many calls were made.
    calls: AtomicU64,
    /// How many calls of machines are being made.
    under_way: AtomicU64,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    by_name: BTreeMap<String, SavedState>,
    /// Why there is none of a name.
    errors: BTreeMap<String, String>,
    /// The checkpoint that the machines are at, as long as no call is made.
    at: Option<(String, u64)>,
}

#[derive(Debug, Clone)]
struct SavedState {
    folder: PathBuf,
    checkpoint: Checkpoint,
}

/// A call of a machine that is being made.
pub(super) struct CallUnderWay<'a>(&'a AtomicU64);

impl Drop for CallUnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a script may rewind its machines, by its text.
#[must_use]
pub fn may_rewind(script: &str) -> bool {
    ["rewind", "branch", "checkpoint="]
        .iter()
        .any(|name| script.contains(name))
}

impl ScriptCheckpoints {
    /// Checkpoints whose files are below `scratch`, for a script with this text.
    #[must_use]
    pub fn new(scratch: PathBuf, script: &str) -> Self {
        Self {
            scratch,
            wanted: AtomicBool::new(may_rewind(script)),
            saved: AtomicU64::default(),
            calls: AtomicU64::default(),
            under_way: AtomicU64::default(),
            taken: Mutex::default(),
        }
    }

    /// Has checkpoints saved from now on: a user may rewind to them.
    pub fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Takes note of a call of the machines, until the result is dropped.
    pub(super) fn call(&self) -> CallUnderWay<'_> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        CallUnderWay(&self.under_way)
    }

    /// Adds the checkpoints of a script that are in a recording, which is in `slot`.
    pub(super) async fn add_recorded(&self, slot: &Slot, recording: &Recording) {
        let of_script = recording.checkpoints.iter();
        let of_script = of_script.filter(|checkpoint| checkpoint.kind == CheckpointKind::Script);
        let mut taken = self.taken.lock().await;
        for checkpoint in of_script {
            taken.add(slot.folder_of(checkpoint), checkpoint.clone());
        }
    }

    /// Adds the checkpoint that a recording has just got.
    pub(super) async fn add(&self, folder: PathBuf, checkpoint: Checkpoint) {
        let mut taken = self.taken.lock().await;
        taken.at = Some((checkpoint.name.clone(), self.calls.load(Ordering::Relaxed)));
        taken.add(folder, checkpoint);
    }

    /// Saves the machines, unless the checkpoint is in the recording, or nothing will ask for it.
    pub(super) async fn save(&self, host: &Host, name: &str, clock: Clock) {
        let mut taken = self.taken.lock().await;
        if !self.wanted.load(Ordering::Relaxed) || taken.by_name.contains_key(name) {
            return;
        }
        let number = self.saved.fetch_add(1, Ordering::Relaxed);
        let folder = self.scratch.join(number.to_string());
        let begin = Instant::now();
        match checkpoint::save(&host.machines(), &folder).await {
            Ok(machines) => {
                let checkpoint = Checkpoint {
                    folder: String::new(),
                    name: name.to_owned(),
                    kind: CheckpointKind::Script,
                    position: 0,
                    taken: SystemTime::now(),
                    elapsed_s: 0.0,
                    spent_s: 0.0,
                    clock,
                    machines,
                    files: BTreeMap::new(),
                };
                host.events.emit(Event::CheckpointTaken {
                    name: name.to_owned(),
                    duration_s: round(begin.elapsed().as_secs_f64()),
                });
                taken.at = Some((name.to_owned(), self.calls.load(Ordering::Relaxed)));
                taken.add(folder, checkpoint);
            }
            Err(error) => drop(taken.errors.insert(name.to_owned(), error.to_string())),
        }
    }

    /// Forgets a checkpoint.
    pub(super) async fn forget(&self, name: &str) {
        self.taken.lock().await.by_name.remove(name);
    }

    /// Rewinds all machines to a checkpoint.
    ///
    /// # Errors
    /// Returns an error if there is no such checkpoint, a machine cannot go on from there, or a call is being made.
    pub(super) async fn rewind(&self, host: &Host, name: &str) -> Result<(), CallError> {
        let mut taken = self.taken.lock().await;
        let state = taken.find(name)?;
        if self.under_way.load(Ordering::Relaxed) > 0 {
            return Err(CallError::machine(format!(
                "cannot rewind to the checkpoint `{name}`: another thread calls a machine; wait for it first"
            )));
        }
        let calls = self.calls.load(Ordering::Relaxed);
        if taken
            .at
            .as_ref()
            .is_some_and(|at| *at == (name.to_owned(), calls))
        {
            return Ok(());
        }
        let begin = Instant::now();
        let machines = host.machines();
        checkpoint::halt(&machines).await;
        let (saved, folder) = (&state.checkpoint, &state.folder);
        let console = ConsoleHistory::OfThisRun;
        checkpoint::load(&machines, saved, &BTreeSet::new(), folder, console).await?;
        host.events.emit(Event::Rewound {
            name: name.to_owned(),
            duration_s: round(begin.elapsed().as_secs_f64()),
        });
        taken.at = Some((name.to_owned(), calls));
        Ok(())
    }
}

impl Taken {
    fn add(&mut self, folder: PathBuf, checkpoint: Checkpoint) {
        let name = checkpoint.name.clone();
        self.errors.remove(&name);
        self.by_name.insert(name, SavedState { folder, checkpoint });
    }

    fn find(&self, name: &str) -> Result<SavedState, CallError> {
        if let Some(state) = self.by_name.get(name) {
            return Ok(state.clone());
        }
        let known: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
        Err(CallError::machine(
            match (self.errors.get(name), &known[..]) {
                (Some(error), _) => format!("the checkpoint `{name}` could not be taken: {error}"),
                (None, []) => format!("there is no checkpoint `{name}`: none was taken"),
                (None, known) => format!(
                    "there is no checkpoint `{name}`; there are: {}",
                    known.join(", ")
                ),
            },
        ))
    }
}
