//! Goes from answered calls to live machines: restores them, and makes the calls since.

use std::collections::BTreeSet;

use super::player::Player;
use super::recorder::Recorder;
use super::recording::{RecordedCall, digest_of};
use super::script_checkpoints::ScriptCheckpoints;
use super::system_switch::SystemSwitch;
use super::{Restart, perform};
use crate::checkpoint::{self, Checkpoint};
use crate::host::Host;
use crate::machine::{ConsoleHistory, RecordPolicy};
use crate::model::event::{Event, Restored};

/// The longest result that a message shows, in characters.
const MOST_SHOWN: usize = 60;

/// Returns the recorder of a run that goes on live after the calls that the
/// player has answered.
///
/// # Errors
/// Returns an error if the machines cannot be restored, or a call gives another result now.
pub(super) async fn catch_up(
    host: &Host,
    checkpoints: &ScriptCheckpoints,
    player: Player,
    switches: &[SystemSwitch],
) -> Result<Recorder, Restart> {
    let Some(checkpoint) = player.recording.before(player.position).cloned() else {
        return Err(Restart::NoCheckpoint(format!(
            "{}, and the first checkpoint comes later",
            player.departure
        )));
    };
    restore(host, &player, &checkpoint).await?;
    for switch in switches {
        switch.make(host).await?;
    }
    let recording = player.recording.until(player.position);
    let at = checkpoint.position.min(player.position);
    let (before, since) = recording.entries.split_at(at);
    for entry in before {
        if entry.call.record_policy() == RecordPolicy::Process {
            let result = host.make(entry.call.clone()).await;
            result.map_err(|error| Restart::Unusable(difference(entry, &error.message)))?;
        }
    }
    checkpoints.add_recorded(&player.slot, &recording).await;
    for entry in since {
        repeat(host, checkpoints, entry).await?;
    }
    let mut readings = recording.entries.iter().rev();
    if let Some(reading) = readings.find_map(RecordedCall::monotonic_reading) {
        host.continue_clock(reading);
    }
    Ok(Recorder::new(player.slot, recording, Some(&checkpoint)))
}

async fn restore(host: &Host, player: &Player, checkpoint: &Checkpoint) -> Result<(), Restart> {
    let changed = &player.recording.changed;
    host.events.release(Event::Begun {
        checkpoint: Some(restored(checkpoint, changed)),
        reason: None,
    });
    let lost = |error: &dyn std::fmt::Display| {
        let name = &checkpoint.name;
        Restart::Unusable(format!(
            "the checkpoint {name:?} cannot be restored: {error}"
        ))
    };
    let verified = {
        let (slot, checkpoint) = (player.slot.clone(), checkpoint.clone());
        tokio::task::spawn_blocking(move || slot.verify(&checkpoint)).await
    };
    verified
        .map_err(|error| lost(&error))?
        .map_err(|error| lost(&error))?;
    let folder = player.slot.folder_of(checkpoint);
    let console = ConsoleHistory::Saved;
    checkpoint::load(&host.machines(), checkpoint, changed, &folder, console)
        .await
        .map_err(|error| lost(&error))
}

fn restored(checkpoint: &Checkpoint, changed: &BTreeSet<String>) -> Restored {
    Restored {
        name: checkpoint.name.clone(),
        age_s: checkpoint.taken.elapsed().unwrap_or_default().as_secs(),
        booting: changed.iter().cloned().collect(),
    }
}

async fn repeat(
    host: &Host,
    checkpoints: &ScriptCheckpoints,
    entry: &RecordedCall,
) -> Result<(), Restart> {
    if entry.call.record_policy() == RecordPolicy::Reading {
        return Ok(());
    }
    match perform(host, checkpoints, entry.call.clone()).await {
        Ok(result) if result == entry.result => Ok(()),
        Ok(result) => Err(differs(entry, &result.to_string())),
        Err(error) => Err(differs(entry, &error.message)),
    }
}

/// Returns why a run cannot continue after a call, of which later runs know that it cannot be repeated.
fn differs(entry: &RecordedCall, now: &str) -> Restart {
    Restart::Unrepeatable {
        reason: format!("{}, later runs do not repeat it", difference(entry, now)),
        call: digest_of(&entry.call),
    }
}

fn difference(entry: &RecordedCall, now: &str) -> String {
    format!(
        "{} gives another result than in the run before ({} then, {} now)",
        entry.call,
        shortened(&entry.result.to_string()),
        shortened(now)
    )
}

fn shortened(text: &str) -> String {
    let mut characters = text.chars();
    let begin: String = characters.by_ref().take(MOST_SHOWN).collect();
    if characters.next().is_some() {
        format!("{begin}…")
    } else {
        begin
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::recorder::tests::recording;
    use super::*;

    #[test]
    fn another_result_names_the_call() {
        let recording = recording(&[("server", "/long/".repeat(20).leak())]);
        let text = difference(&recording.entries[0], &json!("short").to_string());
        let shown = &"/long/".repeat(20)[..59];
        assert_eq!(
            text,
            format!(
                "server.wait_for_file gives another result than in the run before (\"{shown}… then, \"short\" now)"
            )
        );
    }
}
