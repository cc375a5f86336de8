//! What is known of a run's calls: it records them, and answers those of the next run.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime};

use serde_json::Value;
use tokio::sync::{Mutex, mpsc};
use tokio::task::AbortHandle;

use crate::checkpoint::{Call, Checkpoint, CheckpointKind, RecordedCall, Recording, Slot};
use crate::machine::Clock;

/// How much of a cold run may go into checkpoints.
const SHARE: f64 = 0.05;

/// How long a first checkpoint is taken to last, in seconds for each machine.
const GUESSED_COST_S: f64 = 0.15;

/// How many of its own checkpoints a record holds.
const MOST_AUTOMATIC: usize = 8;

/// A record that grows beyond this is ended: it is read as a whole.
const MOST_BYTES: usize = 16 << 20;

/// Who calls: only what the script itself does comes in the same order each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    Script,
    /// A thread of the script's, or a condition that is watched.
    Beside,
}

/// The run is to begin again, cold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    /// None if no time was lost.
    pub reason: Option<String>,
}

/// The calls of a run.
#[derive(Debug)]
pub struct Replay {
    pub(super) mode: Arc<Mutex<Mode>>,
    pub(super) restarts: mpsc::UnboundedSender<Restart>,
    /// The offset of the monotonic clock, so that it continues
    /// from the record's last reading. In nanoseconds.
    pub(super) shift_ns: AtomicI64,
    /// Restores the machines.
    task: std::sync::Mutex<Option<AbortHandle>>,
}

#[derive(Debug)]
pub(super) enum Mode {
    /// Calls are made and forgotten.
    Plain,
    Recording(Recorder),
    /// Calls are answered; there is no machine.
    Replaying(Player),
    /// The run begins again; this one is over.
    Gone,
}

impl Replay {
    /// Remembers nothing.
    #[must_use]
    pub fn none() -> Self {
        let (restarts, _) = mpsc::unbounded_channel();
        Self::new(Mode::Plain, restarts)
    }

    /// Records a run from its beginning.
    #[must_use]
    pub fn recording(slot: Arc<Slot>) -> Self {
        let (restarts, _) = mpsc::unbounded_channel();
        Self::new(
            Mode::Recording(Recorder::new(slot, Recording::default(), None)),
            restarts,
        )
    }

    /// Answers calls from `recording` as long as they are the same. Where it
    /// cannot go on it says so.
    #[must_use]
    pub fn replaying(
        slot: Arc<Slot>,
        recording: Recording,
        restarts: mpsc::UnboundedSender<Restart>,
    ) -> Self {
        let player = Player {
            slot,
            recording,
            position: 0,
        };
        Self::new(Mode::Replaying(player), restarts)
    }

    fn new(mode: Mode, restarts: mpsc::UnboundedSender<Restart>) -> Self {
        Self {
            mode: Arc::new(Mutex::new(mode)),
            restarts,
            shift_ns: AtomicI64::default(),
            task: std::sync::Mutex::default(),
        }
    }

    pub(super) fn keep_task(&self, task: AbortHandle) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    pub(super) fn end_task(&self) {
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task {
            task.abort();
        }
    }

    /// Whether anything is recorded or answered.
    pub(super) fn remembers(&self) -> bool {
        self.mode
            .try_lock()
            .map_or(true, |mode| !matches!(*mode, Mode::Plain))
    }

    /// Takes note of what a call gave that was to be recorded.
    pub(super) async fn took(&self, call: Call, result: Option<&Value>) {
        if let Mode::Recording(recorder) = &mut *self.mode.lock().await {
            recorder.took(call, result);
        }
    }

    /// A subtest begins: a good moment for a checkpoint.
    pub(super) async fn entered(&self, subtest: &str) {
        if let Mode::Recording(recorder) = &mut *self.mode.lock().await {
            recorder.subtest = Some(subtest.to_owned());
        }
    }
}

/// Answers from a record.
#[derive(Debug)]
pub(super) struct Player {
    pub slot: Arc<Slot>,
    pub recording: Recording,
    pub position: usize,
}

impl Player {
    /// What the record says, where the call is the next one in it.
    pub fn answer(&mut self, call: &Call) -> Option<Value> {
        let entry = self.recording.entries.get(self.position)?;
        // Only who has asked them knows what other machines say.
        let is_changed = self.recording.changed.contains(&call.target)
            || (!self.recording.changed.is_empty() && call.call["operation"] == "join_all");
        if is_changed || entry.call != *call {
            return None;
        }
        self.position += 1;
        Some(entry.result.clone())
    }
}

/// Records a run's calls, and says when a checkpoint is due.
#[derive(Debug)]
pub(super) struct Recorder {
    slot: Arc<Slot>,
    recording: Recording,
    /// Whether the calls still come in an order that will be the same again.
    open: bool,
    /// Whether the machines can be saved.
    saves: bool,
    /// A call is being made.
    pending: bool,
    bytes: usize,
    clock: RunClock,
    /// The subtest that has begun since the last checkpoint.
    subtest: Option<String>,
}

/// The time of a run as if it had been cold, in seconds.
#[derive(Debug)]
struct RunClock {
    since: Instant,
    before_s: f64,
    spent_s: f64,
    last_checkpoint_s: f64,
    cost_s: Option<f64>,
}

impl RunClock {
    fn now_s(&self) -> f64 {
        self.before_s + self.since.elapsed().as_secs_f64()
    }
}

/// What a checkpoint that is due is to be called.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Subtest(String),
    Booted,
    /// Before a call.
    Call,
}

impl Recorder {
    /// Goes on after what is in `recording`, whose machines are at `last`.
    pub fn new(slot: Arc<Slot>, recording: Recording, last: Option<&Checkpoint>) -> Self {
        let clock = RunClock {
            since: Instant::now(),
            before_s: last.map_or(0.0, |last| last.elapsed_s),
            spent_s: last.map_or(0.0, |last| last.spent_s),
            last_checkpoint_s: last.map_or(0.0, |last| last.elapsed_s),
            cost_s: None,
        };
        Self {
            slot,
            recording,
            open: true,
            saves: true,
            pending: false,
            bytes: 0,
            clock,
            subtest: None,
        }
    }

    pub fn slot(&self) -> Arc<Slot> {
        self.slot.clone()
    }

    pub fn is_open(&self) -> bool {
        self.open
    }

    /// What comes from here on will not be the same again.
    pub fn close(&mut self) {
        self.open = false;
    }

    /// It has failed once, and would again.
    pub fn save_no_more(&mut self) {
        self.saves = false;
    }

    /// A call is about to be made; false where another one still is.
    pub fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.pending, true)
    }

    fn took(&mut self, call: Call, result: Option<&Value>) {
        self.pending = false;
        // A record never answers with an error: the machines are asked again.
        let Some(result) = result else {
            return self.close();
        };
        self.bytes += call.call.to_string().len() + result.to_string().len();
        if self.bytes > MOST_BYTES {
            return self.close();
        }
        self.recording.entries.push(RecordedCall {
            call,
            result: result.clone(),
        });
    }

    /// Whether a checkpoint is due before the next call, with so many machines up.
    pub fn due(&self, machines: u32) -> Option<Due> {
        let now = self.clock.now_s();
        let cost = self
            .clock
            .cost_s
            .unwrap_or(GUESSED_COST_S * f64::from(machines));
        let since = now - self.clock.last_checkpoint_s;
        let affordable = self.clock.spent_s + cost <= SHARE * now;
        let last = self.recording.checkpoints.last();
        let needless = last.is_some_and(|last| last.position == self.recording.entries.len());
        if machines == 0 || !self.saves || !affordable || needless {
            return None;
        }
        match &self.subtest {
            Some(name) if since > cost => Some(Due::Subtest(name.clone())),
            _ if last.is_none() => Some(Due::Booted),
            _ if since > 2.0 * cost => Some(Due::Call),
            _ => None,
        }
    }

    /// A checkpoint that is to be filled in.
    pub fn plan(&self, name: &str, kind: CheckpointKind) -> Checkpoint {
        Checkpoint {
            folder: String::new(),
            name: name.to_owned(),
            kind,
            position: self.recording.entries.len(),
            taken: SystemTime::now(),
            elapsed_s: self.clock.now_s(),
            spent_s: self.clock.spent_s,
            clock: Clock::FromHost,
            machines: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    /// Takes note of time that went by without one.
    pub fn spent(&mut self, seconds: f64) {
        self.clock.spent_s += seconds;
    }

    /// Takes note of a checkpoint, and of how long it took.
    pub fn saved(&mut self, mut checkpoint: Checkpoint, cost_s: f64) {
        self.subtest = None;
        self.clock.cost_s = Some(cost_s);
        self.clock.spent_s += cost_s;
        self.clock.last_checkpoint_s = self.clock.now_s();
        checkpoint.spent_s = self.clock.spent_s;
        self.recording.checkpoints.push(checkpoint);
        let automatic = self.recording.checkpoints.iter();
        let automatic = automatic.filter(|checkpoint| checkpoint.kind == CheckpointKind::Automatic);
        if automatic.count() > MOST_AUTOMATIC
            && let Some(number) = self.recording.least_needed()
        {
            self.recording.checkpoints.remove(number);
        }
    }

    pub fn into_memory(self) -> (Arc<Slot>, Recording) {
        (self.slot, self.recording)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::checkpoint::{CheckpointStore, SlotKey};

    fn slot(folder: &tempfile::TempDir) -> Arc<Slot> {
        let store = CheckpointStore::in_folder(folder.path().join("checkpoints"), 1 << 20);
        Arc::new(store.open(SlotKey::default(), BTreeMap::new()).unwrap())
    }

    fn call(target: &str, command: &str) -> Call {
        Call {
            target: target.to_owned(),
            call: json!({"operation": "succeed", "commands": [command]}),
            files: None,
        }
    }

    /// What is remembered of these calls, each with its own text as the result.
    fn recording(calls: &[(&str, &str)]) -> Recording {
        let entries = calls.iter().map(|(target, command)| RecordedCall {
            call: call(target, command),
            result: json!(command),
        });
        Recording {
            entries: entries.collect(),
            ..Recording::default()
        }
    }

    #[test]
    fn calls_are_answered_until_one_differs() {
        let folder = tempfile::tempdir().unwrap();
        let mut player = Player {
            slot: slot(&folder),
            recording: recording(&[("a", "one"), ("a", "two"), ("b", "three")]),
            position: 0,
        };
        assert_eq!(player.answer(&call("a", "one")), Some(json!("one")));
        assert_eq!(player.answer(&call("a", "other")), None);
        assert_eq!(player.answer(&call("a", "two")), Some(json!("two")));
        player.recording.changed.insert("b".to_owned());
        assert_eq!(player.answer(&call("b", "three")), None);
        assert_eq!(player.position, 2);
    }

    #[test]
    fn files_of_the_host_are_part_of_a_call() {
        let folder = tempfile::tempdir().unwrap();
        let mut player = Player {
            slot: slot(&folder),
            recording: recording(&[("a", "copy")]),
            position: 0,
        };
        player.recording.entries[0].call.files = Some("1".to_owned());
        let with = |files: &str| Call {
            files: Some(files.to_owned()),
            ..call("a", "copy")
        };
        assert_eq!(player.answer(&with("2")), None);
        assert_eq!(player.answer(&with("1")), Some(json!("copy")));
    }

    #[test]
    fn checkpoints_take_their_share_of_the_time_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(slot(&folder), recording(&[("a", "one")]), None);
        recorder.clock.before_s = 1.0;
        assert_eq!(recorder.due(1), None);
        recorder.clock.before_s = 10.0;
        assert_eq!(recorder.due(1), Some(Due::Booted));
        assert_eq!(recorder.due(0), None);
        recorder.saved(recorder.plan("booted", CheckpointKind::Automatic), 0.4);
        // Nothing was asked since.
        recorder.clock.before_s = 30.0;
        assert_eq!(recorder.due(1), None);
        recorder.took(call("a", "two"), Some(&json!("two")));
        assert_eq!(recorder.due(1), Some(Due::Call));
        recorder.subtest = Some("login".to_owned());
        assert_eq!(recorder.due(1), Some(Due::Subtest("login".to_owned())));
        recorder.spent(1.0);
        assert_eq!(recorder.due(1), None);
    }

    #[test]
    fn a_failed_call_ends_the_record() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(slot(&folder), Recording::default(), None);
        recorder.took(call("a", "one"), Some(&json!("one")));
        assert!(recorder.is_open());
        recorder.took(call("a", "two"), None);
        assert!(!recorder.is_open());
        assert_eq!(recorder.into_memory().1.entries.len(), 1);
    }

    #[test]
    fn the_most_checkpoints_are_kept_that_are_apart() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(slot(&folder), Recording::default(), None);
        for number in 0..=MOST_AUTOMATIC {
            let elapsed_s = [0.0, 10.0, 11.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0][number];
            let checkpoint = Checkpoint {
                elapsed_s,
                ..recorder.plan("", CheckpointKind::Automatic)
            };
            recorder.saved(checkpoint, 0.1);
        }
        let (_, recording) = recorder.into_memory();
        assert_eq!(recording.checkpoints.len(), MOST_AUTOMATIC);
        let elapsed: Vec<String> = recording
            .checkpoints
            .iter()
            .map(|kept| kept.elapsed_s.to_string())
            .collect();
        assert_eq!(elapsed, ["0", "10", "20", "30", "40", "50", "60", "70"]);
    }
}
