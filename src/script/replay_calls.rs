//! Calls between the record of an earlier run and the machines: which are
//! answered, when the machines are restored, when they are saved.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::OwnedMutexGuard;

use super::host::{CallError, Host};
use super::replay::{Caller, Due, Mode, Player, Recorder, Restart};
use super::request::{Request, monotonic_ns};
use crate::checkpoint::{self, Call, Checkpoint, CheckpointKind, RecordedCall};
use crate::event::{Event, Level, Restored, round};
use crate::machine::{Clock, MachineError};

/// How long machines that run may take to show that they have booted, before
/// an automatic checkpoint.
const BOOTED: Duration = Duration::from_millis(500);

/// How a call is executed.
enum CallTurn {
    Answered(Value),
    /// It is made, and its result taken note of.
    Recorded(Call),
    Made,
}

type Guard = OwnedMutexGuard<Mode>;

impl Host {
    /// Does what the script asks of a machine, or of the driver where `target`
    /// is empty; or answers it from an earlier run.
    pub(super) async fn call(
        self: &Arc<Self>,
        target: &str,
        call: Value,
        caller: Caller,
    ) -> Result<Value, CallError> {
        let request = self.request(target, call.clone())?;
        if request.is_told_only() {
            let subtest = request.subtest().map(str::to_owned);
            let result = self.make(request).await;
            if let Some(name) = subtest {
                self.replay.entered(&name).await;
            }
            return result;
        }
        let call = Call {
            target: target.to_owned(),
            call,
            files: None,
        };
        match self.turn(&request, call, caller).await? {
            CallTurn::Answered(result) => Ok(result),
            CallTurn::Made => self.make(request).await,
            CallTurn::Recorded(call) => {
                let result = self.make(request).await;
                self.replay.took(call, result.as_ref().ok()).await;
                result
            }
        }
    }

    async fn turn(
        self: &Arc<Self>,
        request: &Request,
        mut call: Call,
        caller: Caller,
    ) -> Result<CallTurn, CallError> {
        let mut mode = self.replay.mode.clone().lock_owned().await;
        if matches!(*mode, Mode::Plain) {
            return Ok(CallTurn::Made);
        }
        let certain = caller == Caller::Script && request.is_repeatable();
        if certain {
            call.files = request.fingerprint();
        }
        if let Mode::Replaying(player) = &mut *mode {
            if certain && let Some(result) = player.answer(&call) {
                return Ok(CallTurn::Answered(result));
            }
            mode = self.go_live(mode).await?;
        }
        let Mode::Recording(recorder) = &mut *mode else {
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
        if let Some((name, clock)) = request.checkpoint() {
            self.save(recorder, &name, CheckpointKind::Script, clock)
                .await;
        } else if request.is_of_machine() {
            self.save_if_due(recorder, &call).await;
        }
        Ok(CallTurn::Recorded(call))
    }

    /// Restores the machines and makes the calls since. What begins here is
    /// done to its end, also if its caller has gone.
    async fn go_live(self: &Arc<Self>, mut mode: Guard) -> Result<Guard, CallError> {
        let host = self.clone();
        let task = tokio::spawn(async move {
            if let Mode::Replaying(player) = std::mem::replace(&mut *mode, Mode::Gone) {
                match Box::pin(host.catch_up(player)).await {
                    Ok(recorder) => *mode = Mode::Recording(recorder),
                    Err(restart) => drop(host.replay.restarts.send(restart)),
                }
            }
            mode
        });
        self.replay.keep_task(task.abort_handle());
        let mode = task.await.map_err(|error| CallError::broken(&error))?;
        match *mode {
            Mode::Gone => Err(begins_again()),
            _ => Ok(mode),
        }
    }

    async fn catch_up(self: &Arc<Self>, player: Player) -> Result<Recorder, Restart> {
        let changed = player.recording.changed.clone();
        let Some(checkpoint) = player.recording.before(player.position).cloned() else {
            return Err(Restart { reason: None });
        };
        self.events.release(Event::Begun {
            checkpoint: Some(restored(&checkpoint, &changed)),
            reason: None,
        });
        let folder = player.slot.folder_of(&checkpoint);
        let lost = |error: &dyn std::fmt::Display| Restart {
            reason: Some(format!(
                "the checkpoint {:?} cannot be restored: {error}",
                checkpoint.name
            )),
        };
        let verified = {
            let (slot, checkpoint) = (player.slot.clone(), checkpoint.clone());
            tokio::task::spawn_blocking(move || slot.verify(&checkpoint)).await
        };
        verified
            .map_err(|error| lost(&error))?
            .map_err(|error| lost(&error))?;
        checkpoint::load(&self.machines(), &checkpoint, &changed, &folder)
            .await
            .map_err(|error| lost(&error))?;
        let recording = player.recording.until(player.position);
        let at = checkpoint.position.min(player.position);
        let (before, since) = recording.entries.split_at(at);
        for entry in before {
            self.remember(entry).await?;
        }
        for entry in since {
            self.repeat(entry).await?;
        }
        let last_reading = recording.entries.iter().rev().find_map(monotonic_reading);
        if let Some(reading) = last_reading {
            let shift = reading - monotonic_ns();
            self.replay.shift_ns.store(shift, Ordering::Relaxed);
        }
        Ok(Recorder::new(player.slot, recording, Some(&checkpoint)))
    }

    /// Does again what no guest remembers.
    async fn remember(&self, entry: &RecordedCall) -> Result<(), Restart> {
        let request = self.request_again(entry)?;
        if request.is_remembered_here() {
            self.make(request)
                .await
                .map_err(|error| differs(entry, &error.message))?;
        }
        Ok(())
    }

    async fn repeat(&self, entry: &RecordedCall) -> Result<(), Restart> {
        let request = self.request_again(entry)?;
        if request.is_reading() {
            return Ok(());
        }
        match self.make(request).await {
            Ok(result) if result == entry.result => Ok(()),
            Ok(result) => Err(differs(entry, &result.to_string())),
            Err(error) => Err(differs(entry, &error.message)),
        }
    }

    fn request_again(&self, entry: &RecordedCall) -> Result<Request, Restart> {
        self.request(&entry.call.target, entry.call.call.clone())
            .map_err(|error| Restart {
                reason: Some(format!("the record cannot be read: {}", error.message)),
            })
    }

    async fn save_if_due(self: &Arc<Self>, recorder: &mut Recorder, call: &Call) {
        let machines = self.machines();
        let up = machines.values().filter(|machine| machine.is_up());
        let Some(due) = recorder.due(u32::try_from(up.count()).unwrap_or(u32::MAX)) else {
            return;
        };
        let begin = Instant::now();
        let connected = async {
            for machine in machines.values().filter(|machine| machine.is_up()) {
                machine.connect().await?;
            }
            Ok::<_, MachineError>(())
        };
        if !matches!(tokio::time::timeout(BOOTED, connected).await, Ok(Ok(()))) {
            return recorder.spent(begin.elapsed().as_secs_f64());
        }
        let name = match due {
            Due::Subtest(name) => name,
            Due::Booted => "booted".to_owned(),
            Due::Call => format!("before {}.{}", call.target, operation(call)),
        };
        self.save(recorder, &name, CheckpointKind::Automatic, Clock::FromHost)
            .await;
    }

    /// Takes a checkpoint. Where that fails the run goes on without.
    async fn save(
        self: &Arc<Self>,
        recorder: &mut Recorder,
        name: &str,
        kind: CheckpointKind,
        clock: Clock,
    ) {
        let begin = Instant::now();
        tracing::debug!(name, "a checkpoint begins");
        let mut checkpoint = Checkpoint {
            clock,
            ..recorder.plan(name, kind)
        };
        let slot = recorder.slot();
        let work = async {
            let folder = slot.begin().map_err(|error| error.to_string())?;
            let (machines, path) = (self.machines(), folder.path().to_owned());
            // If the caller has gone, no machine may stay paused.
            let saving = tokio::spawn(async move { checkpoint::save(&machines, &path).await });
            checkpoint.machines = saving
                .await
                .map_err(|error| error.to_string())?
                .map_err(|error| error.to_string())?;
            slot.keep(folder, &mut checkpoint)
                .map_err(|error| error.to_string())
        };
        match work.await {
            Ok(()) => {
                let duration_s = begin.elapsed().as_secs_f64();
                self.events.emit(Event::CheckpointTaken {
                    name: name.to_owned(),
                    duration_s: round(duration_s),
                });
                recorder.saved(checkpoint, duration_s);
            }
            Err(error) => {
                let level = match kind {
                    CheckpointKind::Script => Level::Warning,
                    CheckpointKind::Automatic => Level::Info,
                };
                let text = format!("no checkpoint can be taken here: {error}");
                self.events.note(level, text);
                recorder.spent(begin.elapsed().as_secs_f64());
                recorder.save_no_more();
            }
        }
    }

    /// Sees to it that the machines are as the script takes them to be, at its end.
    pub(super) async fn settle(self: &Arc<Self>) {
        let mode = self.replay.mode.clone().lock_owned().await;
        if matches!(*mode, Mode::Replaying(_)) {
            // The run begins again where it fails.
            let _ = self.go_live(mode).await;
        }
    }

    /// What comes now is not the script's.
    pub(super) async fn end_record(&self) {
        if let Mode::Recording(recorder) = &mut *self.replay.mode.lock().await {
            recorder.close();
        }
    }

    /// Ends what a script that is over has left, and keeps the record for the
    /// next run.
    pub async fn keep_record(&self) {
        self.replay.end_task();
        let mode = std::mem::replace(&mut *self.replay.mode.lock().await, Mode::Gone);
        let Mode::Recording(recorder) = mode else {
            return;
        };
        let (slot, recording) = recorder.into_memory();
        if let Err(error) = slot.write(recording) {
            let text = format!("the next run will be cold: its record cannot be kept: {error}");
            self.events.note(Level::Warning, text);
        }
    }
}

fn restored(checkpoint: &Checkpoint, changed: &BTreeSet<String>) -> Restored {
    Restored {
        name: checkpoint.name.clone(),
        age_s: checkpoint.taken.elapsed().unwrap_or_default().as_secs(),
        booting: changed.iter().cloned().collect(),
    }
}

/// What the clock showed that only goes forward, where the entry is about that.
fn monotonic_reading(entry: &RecordedCall) -> Option<i64> {
    if entry.call.call != json!({"operation": "read", "what": "monotonic_ns"}) {
        return None;
    }
    entry.result.as_i64()
}

fn differs(entry: &RecordedCall, now: &str) -> Restart {
    Restart {
        reason: Some(format!(
            "{}.{} gives another result than in the run before ({} then, {} now)",
            entry.call.target,
            operation(&entry.call),
            shortened(&entry.result.to_string()),
            shortened(now)
        )),
    }
}

fn operation(call: &Call) -> &str {
    call.call["operation"].as_str().unwrap_or_default()
}

fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    let mut characters = text.chars();
    let begin: String = characters.by_ref().take(MOST).collect();
    if characters.next().is_some() {
        format!("{begin}…")
    } else {
        begin
    }
}

fn begins_again() -> CallError {
    CallError {
        class: "Interrupted",
        message: "the run begins again".to_owned(),
        details: None,
    }
}
