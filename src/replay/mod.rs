//! The calls of a run between the script and the host: answered from the recording of an earlier run,
//! or made and recorded.

mod catch_up;
mod player;
mod recorder;
mod recording;
mod script_checkpoints;
mod system_switch;
mod take;

use std::sync::{Arc, PoisonError};

use serde_json::Value;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};
use tokio::task::AbortHandle;

use crate::checkpoint::{CheckpointKind, FailedLine, Slot};
use crate::host::{Call, CallError, DriverOperation, Host};
use crate::machine::{Clock, RecordPolicy};
use crate::model::event::Level;

use player::{Departure, Player};
use recorder::Recorder;
pub use recording::{RecordedCall, Recording};
pub use script_checkpoints::{ScriptCheckpoints, may_rewind};
pub use system_switch::SystemSwitch;

/// Who calls: only what the script itself does comes in the same order each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    Script,
    /// A thread of the script's, or a condition that is watched.
    Beside,
}

/// The fate of a recording at the end of its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    Kept,
    /// The one of the last run stays.
    Discarded,
}

/// Why the run is to begin again, cold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restart {
    /// No checkpoint is early enough. No time was lost.
    NoCheckpoint(String),
    /// A checkpoint was restored, and the run cannot continue from there.
    Unusable(String),
    /// A call gives another result when it is repeated: why, and the digest of the call.
    Unrepeatable { reason: String, call: String },
}

/// Passes calls to the host, unless a recording answers them.
#[derive(Debug)]
pub struct Replay {
    host: Arc<Host>,
    mode: Arc<Mutex<Mode>>,
    checkpoints: Arc<ScriptCheckpoints>,
    restarts: mpsc::UnboundedSender<Restart>,
    /// Systems that restored machines are switched to.
    switches: Vec<SystemSwitch>,
    /// Restores the machines.
    task: std::sync::Mutex<Option<AbortHandle>>,
}

#[derive(Debug)]
enum Mode {
    /// Calls are made and forgotten.
    Plain,
    Recording(Recorder),
    /// Calls are answered; there is no machine.
    Replaying(Player),
    /// Calls are answered to the end of the recording, and then the run is over.
    Scouting(Player),
    /// The run begins again; this one is over.
    Gone,
}

type ModeGuard = OwnedMutexGuard<Mode>;

/// How a call is executed.
enum CallTurn {
    Answered(Value),
    /// The call is made, and its result recorded with a digest of the files that it takes.
    Recorded(Option<String>),
    Made,
}

impl Replay {
    /// Makes all calls, and records none.
    #[must_use]
    pub fn none(host: Arc<Host>, checkpoints: Arc<ScriptCheckpoints>) -> Self {
        let (restarts, _) = mpsc::unbounded_channel();
        Self::new(host, Mode::Plain, checkpoints, restarts)
    }

    /// Records a run from its beginning, into a recording without calls.
    #[must_use]
    pub fn recording(
        host: Arc<Host>,
        slot: Arc<Slot>,
        recording: Recording,
        checkpoints: Arc<ScriptCheckpoints>,
    ) -> Self {
        let (restarts, _) = mpsc::unbounded_channel();
        let recorder = Recorder::new(slot, recording, None);
        Self::new(host, Mode::Recording(recorder), checkpoints, restarts)
    }

    /// Answers calls from `recording` as long as they are the same. If it
    /// cannot go on from there, it says so on `restarts`.
    #[must_use]
    pub fn replaying(
        host: Arc<Host>,
        slot: Arc<Slot>,
        recording: Recording,
        checkpoints: Arc<ScriptCheckpoints>,
        restarts: mpsc::UnboundedSender<Restart>,
    ) -> Self {
        let player = Player::new(slot, recording);
        Self::new(host, Mode::Replaying(player), checkpoints, restarts)
    }

    /// Answers calls from `recording` as long as they are the same, and makes none.
    #[must_use]
    pub fn scouting(
        host: Arc<Host>,
        slot: Arc<Slot>,
        recording: Recording,
        checkpoints: Arc<ScriptCheckpoints>,
    ) -> Self {
        let (restarts, _) = mpsc::unbounded_channel();
        let player = Player::new(slot, recording);
        Self::new(host, Mode::Scouting(player), checkpoints, restarts)
    }

    fn new(
        host: Arc<Host>,
        mode: Mode,
        checkpoints: Arc<ScriptCheckpoints>,
        restarts: mpsc::UnboundedSender<Restart>,
    ) -> Self {
        Self {
            host,
            mode: Arc::new(Mutex::new(mode)),
            checkpoints,
            restarts,
            switches: Vec::new(),
            task: std::sync::Mutex::default(),
        }
    }

    /// Returns a replay after which the restored machines are switched to other systems.
    #[must_use]
    pub fn switching(self, switches: Vec<SystemSwitch>) -> Self {
        Self { switches, ..self }
    }

    /// Returns the host behind the replay.
    #[must_use]
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Whether anything is recorded or answered.
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.mode
            .try_lock()
            .map_or(true, |mode| !matches!(*mode, Mode::Plain))
    }

    /// Makes a call, or answers it from an earlier run.
    ///
    /// # Errors
    /// Returns the errors of [`Host::make`], and an error if the run begins again.
    pub async fn call(&self, call: Call, caller: Caller) -> Result<Value, CallError> {
        if call.record_policy() == RecordPolicy::Never {
            return self.make_unrecorded(call).await;
        }
        match self.turn(&call, caller).await? {
            CallTurn::Answered(result) => Ok(result),
            CallTurn::Made => perform(&self.host, &self.checkpoints, call).await,
            CallTurn::Recorded(files) => {
                let result = perform(&self.host, &self.checkpoints, call.clone()).await;
                if let Mode::Recording(recorder) = &mut *self.mode.lock().await {
                    recorder.took(call, files, result.as_ref().ok());
                }
                result
            }
        }
    }

    async fn make_unrecorded(&self, call: Call) -> Result<Value, CallError> {
        let subtest = match &call {
            Call::Driver(DriverOperation::SubtestStarted { name }) => Some(name.clone()),
            _ => None,
        };
        let result = self.host.make(call).await;
        if let Some(name) = subtest
            && let Mode::Recording(recorder) = &mut *self.mode.lock().await
        {
            recorder.subtest = Some(name);
        }
        result
    }

    async fn turn(&self, call: &Call, caller: Caller) -> Result<CallTurn, CallError> {
        let mut mode = self.mode.clone().lock_owned().await;
        if matches!(*mode, Mode::Plain) {
            return Ok(CallTurn::Made);
        }
        let certain = caller == Caller::Script && call.record_policy() != RecordPolicy::Ends;
        let files = if certain { call.fingerprint() } else { None };
        if let Mode::Replaying(player) = &mut *mode {
            if certain {
                match player.answer(call, files.as_deref()) {
                    Ok(result) => return Ok(CallTurn::Answered(result)),
                    Err(departure) => player.departure = departure,
                }
            } else {
                player.departure = Departure::NotRecorded(call.to_string());
            }
            mode = self.go_live(mode).await?;
        }
        if let Mode::Scouting(player) = &mut *mode
            && certain
            && let Ok(result) = player.answer(call, files.as_deref())
        {
            return Ok(CallTurn::Answered(result));
        }
        let Mode::Recording(recorder) = &mut *mode else {
            *mode = Mode::Gone;
            return Err(begins_again());
        };
        if !certain {
            recorder.close();
        }
        if !recorder.is_open() {
            return Ok(CallTurn::Made);
        }
        if !recorder.begin() {
            // Another call has been given up, or is still being made.
            recorder.close();
            return Ok(CallTurn::Made);
        }
        match call {
            Call::Driver(DriverOperation::Checkpoint { name, keep_time }) => {
                let clock = clock(*keep_time);
                let taken = take::take(&self.host, recorder, name, CheckpointKind::Script, clock);
                if let Some(checkpoint) = taken.await {
                    let folder = recorder.slot().folder_of(&checkpoint);
                    self.checkpoints.add(folder, checkpoint).await;
                }
            }
            Call::Driver(_) => {}
            Call::Machine { .. } => take::take_if_due(&self.host, recorder, call).await,
        }
        Ok(CallTurn::Recorded(files))
    }

    /// Restores the machines and makes the calls since. What begins here is
    /// done to its end, also if its caller has gone.
    async fn go_live(&self, mut mode: ModeGuard) -> Result<ModeGuard, CallError> {
        let (host, restarts) = (self.host.clone(), self.restarts.clone());
        let checkpoints = self.checkpoints.clone();
        let switches = self.switches.clone();
        let task = tokio::spawn(async move {
            if let Mode::Replaying(player) = std::mem::replace(&mut *mode, Mode::Gone) {
                match Box::pin(catch_up::catch_up(&host, &checkpoints, player, &switches)).await {
                    Ok(recorder) => *mode = Mode::Recording(recorder),
                    Err(restart) => drop(restarts.send(restart)),
                }
            }
            mode
        });
        *self.task() = Some(task.abort_handle());
        let mode = task.await.map_err(|error| CallError::broken(&error))?;
        match *mode {
            Mode::Gone => Err(begins_again()),
            _ => Ok(mode),
        }
    }

    /// Sees to it that the machines are as the script takes them to be, at its end.
    pub async fn settle(&self) {
        let mode = self.mode.clone().lock_owned().await;
        if matches!(*mode, Mode::Replaying(_)) {
            // The run begins again if it fails.
            let _ = self.go_live(mode).await;
        }
    }

    /// Ends the recording: what comes now is not the script's.
    pub async fn end_recording(&self) {
        self.checkpoints.want();
        if let Mode::Recording(recorder) = &mut *self.mode.lock().await {
            recorder.close();
        }
    }

    /// Saves the machines for the user of a prompt, under a name that may be that of an earlier checkpoint.
    pub async fn take_checkpoint(&self, name: &str) {
        self.checkpoints.forget(name).await;
        self.checkpoints
            .save(&self.host, name, Clock::FromHost)
            .await;
    }

    /// Ends what a script that is over has left, and keeps the recording for the
    /// next run, with the line that has failed. The recording of a script that a user has stopped is not kept.
    pub async fn keep_recording(&self, failed: Option<FailedLine>, keeping: Keeping) {
        if let Some(task) = self.task().take() {
            task.abort();
        }
        let mode = std::mem::replace(&mut *self.mode.lock().await, Mode::Gone);
        let Mode::Recording(recorder) = mode else {
            return;
        };
        if keeping == Keeping::Discarded {
            return;
        }
        let (slot, mut recording) = recorder.into_recording();
        recording.failed = failed;
        if let Err(error) = slot.write(recording) {
            let text = format!("the next run will be cold: its record cannot be kept: {error}");
            self.host.events.note(Level::Warning, text);
        }
    }

    fn task(&self) -> std::sync::MutexGuard<'_, Option<AbortHandle>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a call, or does with checkpoints what it asks for.
async fn perform(
    host: &Host,
    checkpoints: &ScriptCheckpoints,
    call: Call,
) -> Result<Value, CallError> {
    match &call {
        Call::Driver(DriverOperation::Checkpoint { name, keep_time }) => {
            host.check_none_paused("a checkpoint")?;
            checkpoints.save(host, name, clock(*keep_time)).await;
        }
        Call::Driver(DriverOperation::Rewind { name }) => {
            host.check_none_paused("a rewind")?;
            checkpoints.rewind(host, name).await?;
        }
        Call::Driver(DriverOperation::SaveDisks {}) => host.check_none_paused("save_disks()")?,
        Call::Driver(_) => {}
        Call::Machine { .. } => {
            let _under_way = checkpoints.call();
            return host.make(call).await;
        }
    }
    host.make(call).await
}

fn clock(keep_time: bool) -> Clock {
    if keep_time {
        Clock::AsSaved
    } else {
        Clock::FromHost
    }
}

fn begins_again() -> CallError {
    CallError {
        class: "Interrupted",
        message: "the run begins again".to_owned(),
        details: None,
    }
}
