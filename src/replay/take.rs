//! Takes checkpoints while a run is recorded.

use std::time::{Duration, Instant};

use super::recorder::{Due, Recorder};
use crate::checkpoint::{self, Checkpoint, CheckpointKind};
use crate::host::{Call, Host};
use crate::machine::{Clock, MachineError};
use crate::model::event::{Event, Level, round};

/// How long machines that run may take to show that they have booted, before
/// an automatic checkpoint.
const BOOTED: Duration = Duration::from_millis(500);

/// Takes an automatic checkpoint before a call, if it is time for one.
pub(super) async fn take_if_due(host: &Host, recorder: &mut Recorder, call: &Call) {
    let machines = host.machines();
    let up = machines.values().filter(|machine| machine.life().is_up());
    let Some(due) = recorder.due(u32::try_from(up.count()).unwrap_or(u32::MAX)) else {
        return;
    };
    let begin = Instant::now();
    let connected = async {
        for machine in machines.values().filter(|machine| machine.life().is_up()) {
            machine.shell().connect().await?;
        }
        Ok::<_, MachineError>(())
    };
    if !matches!(tokio::time::timeout(BOOTED, connected).await, Ok(Ok(()))) {
        return recorder.spent(begin.elapsed().as_secs_f64());
    }
    let name = match due {
        Due::Subtest(name) => name,
        Due::Booted => "booted".to_owned(),
        Due::Call => format!("before {call}"),
    };
    take(
        host,
        recorder,
        &name,
        CheckpointKind::Automatic,
        Clock::FromHost,
    )
    .await;
}

/// Takes a checkpoint and returns it; `None` if it cannot be taken.
pub(super) async fn take(
    host: &Host,
    recorder: &mut Recorder,
    name: &str,
    kind: CheckpointKind,
    clock: Clock,
) -> Option<Checkpoint> {
    let begin = Instant::now();
    tracing::debug!(name, "a checkpoint begins");
    let mut checkpoint = Checkpoint {
        clock,
        ..recorder.plan(name, kind)
    };
    match save(host, recorder, &mut checkpoint).await {
        Ok(()) => {
            let duration_s = begin.elapsed().as_secs_f64();
            host.events.emit(Event::CheckpointTaken {
                name: name.to_owned(),
                duration_s: round(duration_s),
            });
            recorder.saved(checkpoint.clone(), duration_s);
            Some(checkpoint)
        }
        Err(error) => {
            let level = match kind {
                CheckpointKind::Script => Level::Warning,
                CheckpointKind::Automatic => Level::Info,
            };
            let text = format!("no checkpoint can be taken here: {error}");
            host.events.note(level, text);
            recorder.spent(begin.elapsed().as_secs_f64());
            recorder.save_no_more(error);
            None
        }
    }
}

async fn save(host: &Host, recorder: &Recorder, checkpoint: &mut Checkpoint) -> Result<(), String> {
    let slot = recorder.slot();
    let folder = slot.begin().map_err(|error| error.to_string())?;
    let (machines, path) = (host.machines(), folder.path().to_owned());
    // If the caller has gone, no machine may stay paused.
    let saving = tokio::spawn(async move { checkpoint::save(&machines, &path).await });
    checkpoint.machines = saving
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    slot.keep(folder, checkpoint)
        .map_err(|error| error.to_string())
}
