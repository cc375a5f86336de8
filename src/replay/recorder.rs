//! Records a run's calls, and decides when a checkpoint is due.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use serde_json::Value;

use super::recording::{RecordedCall, Recording};
use crate::checkpoint::{Checkpoint, CheckpointKind, Slot};
use crate::host::Call;
use crate::machine::Clock;

/// How much of a cold run may go into checkpoints.
const SHARE: f64 = 0.05;

/// How much of it may go into checkpoints that save much: those after calls whose repetition takes so many times as long
/// as a checkpoint.
const SHARE_OF_DEAR: f64 = 0.1;
const DEAR: f64 = 4.0;

/// How long a first checkpoint is taken to last, in seconds for each machine.
const GUESSED_COST_S: f64 = 0.15;

/// How many of its own checkpoints a record holds.
const MOST_AUTOMATIC: usize = 8;

/// A record that grows beyond this is ended: it is read as a whole.
const MOST_BYTES: usize = 16 << 20;

/// Records a run's calls, and says when a checkpoint is due.
#[derive(Debug)]
pub(super) struct Recorder {
    slot: Arc<Slot>,
    recording: Recording,
    /// Whether the calls still come in an order that will be the same again.
    open: bool,
    /// A call is being made.
    pending: bool,
    bytes: usize,
    clock: RunClock,
    /// The subtest that has begun since the last checkpoint.
    pub subtest: Option<String>,
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

/// The name of a checkpoint that is due.
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

    /// Ends the recording: later calls do not repeat.
    pub fn close(&mut self) {
        self.open = false;
    }

    /// Stops saving checkpoints: one has failed, and the next one would, too.
    pub fn save_no_more(&mut self, error: String) {
        self.recording.obstacle = Some(error);
    }

    /// A call is about to be made; false where another one still is.
    pub fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.pending, true)
    }

    /// Takes note of a call that was made; without a result it has failed.
    pub fn took(&mut self, call: Call, files: Option<String>, result: Option<&Value>) {
        self.pending = false;
        // A record never answers with an error: the machines are asked again.
        let Some(result) = result else {
            return self.close();
        };
        let entry = RecordedCall {
            call,
            files,
            result: result.clone(),
        };
        self.bytes += serde_json::to_vec(&entry).map_or(usize::MAX / 2, |json| json.len());
        if self.bytes > MOST_BYTES {
            return self.close();
        }
        self.recording.entries.push(entry);
    }

    /// Whether a checkpoint is due before the next call, with so many machines up.
    pub fn due(&self, machines: u32) -> Option<Due> {
        let now = self.clock.now_s();
        let cost = self
            .clock
            .cost_s
            .unwrap_or(GUESSED_COST_S * f64::from(machines));
        let since = now - self.clock.last_checkpoint_s;
        let share = if since > DEAR * cost {
            SHARE_OF_DEAR
        } else {
            SHARE
        };
        let affordable = self.clock.spent_s + cost <= share * now;
        let last = self.recording.checkpoints.last();
        let needless = last.is_some_and(|last| last.position == self.recording.entries.len());
        if machines == 0 || self.recording.obstacle.is_some() || needless {
            return None;
        }
        if let Some(name) = self.subtest.as_ref().filter(|name| self.wants(name)) {
            return Some(Due::Subtest(name.clone()));
        }
        if !affordable {
            return None;
        }
        match &self.subtest {
            Some(name) if since > cost => Some(Due::Subtest(name.clone())),
            _ if last.is_none() => Some(Due::Booted),
            _ if since > 2.0 * cost => Some(Due::Call),
            _ => None,
        }
    }

    /// Whether the user wants runs to start from a subtest, and no checkpoint of it was taken.
    fn wants(&self, subtest: &str) -> bool {
        let recording = &self.recording;
        recording.wanted.as_deref() == Some(subtest)
            && recording.checkpoints.iter().all(|it| it.name != subtest)
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

    pub fn into_recording(self) -> (Arc<Slot>, Recording) {
        (self.slot, self.recording)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::checkpoint::{CheckpointStore, SlotAccess, SlotKey};
    use crate::machine::Operation;

    pub fn slot(folder: &tempfile::TempDir) -> Arc<Slot> {
        let store = CheckpointStore::in_folder(folder.path().join("checkpoints"), 1 << 20);
        Arc::new(
            store
                .open(SlotKey::default(), BTreeMap::new(), SlotAccess::Alone)
                .unwrap(),
        )
    }

    pub fn call(machine: &str, path: &str) -> Call {
        Call::Machine {
            machine: machine.to_owned(),
            operation: Operation::WaitForFile {
                filename: path.to_owned(),
                timeout: 1.0.into(),
            },
        }
    }

    /// Returns a recording of these calls, each with its own text as the result.
    pub fn recording(calls: &[(&str, &str)]) -> Recording {
        let entries = calls.iter().map(|(machine, path)| RecordedCall {
            call: call(machine, path),
            files: None,
            result: json!(path),
        });
        Recording {
            entries: entries.collect(),
            ..Recording::default()
        }
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
        recorder.took(call("a", "two"), None, Some(&json!("two")));
        assert_eq!(recorder.due(1), Some(Due::Call));
        recorder.subtest = Some("login".to_owned());
        assert_eq!(recorder.due(1), Some(Due::Subtest("login".to_owned())));
        // More than the share, for calls that would take long to repeat; and too much.
        recorder.spent(1.0);
        assert_eq!(recorder.due(1), Some(Due::Subtest("login".to_owned())));
        recorder.spent(2.0);
        assert_eq!(recorder.due(1), None);
        // Unless runs are to start from there.
        recorder.recording.wanted = Some("login".to_owned());
        assert_eq!(recorder.due(1), Some(Due::Subtest("login".to_owned())));
    }

    #[test]
    fn a_failed_call_ends_the_record() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(slot(&folder), Recording::default(), None);
        recorder.took(call("a", "one"), None, Some(&json!("one")));
        assert!(recorder.is_open());
        recorder.took(call("a", "two"), None, None);
        assert!(!recorder.is_open());
        assert_eq!(recorder.into_recording().1.entries.len(), 1);
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
        let (_, recording) = recorder.into_recording();
        assert_eq!(recording.checkpoints.len(), MOST_AUTOMATIC);
        let elapsed: Vec<String> = recording
            .checkpoints
            .iter()
            .map(|kept| kept.elapsed_s.to_string())
            .collect();
        assert_eq!(elapsed, ["0", "10", "20", "30", "40", "50", "60", "70"]);
    }
}
