//! Finds the statement before which a script stops for its user.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::input::{StopPlace, TestInput};
use super::replay_plan::ReplayPlan;
use super::stage::{Stage, StageNetworks};
use super::supervision::Interrupt;
use super::{SessionError, script};
use crate::checkpoint::FailedLine;
use crate::engine::{ChosenInterpreter, ScriptStop, statement_at};
use crate::event_bus::Events;
use crate::model::event::{Failure, Level};
use crate::replay::Replay;

/// Returns where the script of a run stops. The statement that has failed may be reached many times before it fails: a
/// replay of the last run counts them, which starts no machine.
///
/// # Errors
/// Returns an error if the replay cannot be begun.
pub(super) async fn find_stop(
    input: &TestInput,
    interpreter: &ChosenInterpreter,
    plan: &ReplayPlan,
    events: &Events,
    interrupts: &mut mpsc::UnboundedReceiver<Interrupt>,
) -> Result<Option<ScriptStop>, SessionError> {
    match input.settings.stop {
        None => return Ok(None),
        Some(StopPlace::At(stop)) => return Ok(Some(stop)),
        Some(StopPlace::Failure) => {}
    }
    // Even if it is not known where: the user may take steps after the failure.
    let nowhere = ScriptStop { line: 0, hit: 0 };
    let recorded = plan.recording();
    let failed = recorded
        .as_ref()
        .and_then(|(_, recording)| recording.failed.clone());
    let line = failed.and_then(|failed| line_in(input.script.script(), &failed));
    let (Some((slot, recording)), Some(line)) = (recorded, line) else {
        let text = "no run with checkpoints has failed in this script: it runs until it fails";
        events.note(Level::Info, text);
        return Ok(Some(nowhere));
    };
    events.hold_back();
    let mut stage = Stage::set_up(input, StageNetworks::InNameOnly, events)?;
    let checkpoints = stage.script_checkpoints(input);
    let replay = Replay::scouting(stage.host.clone(), slot, recording.clone(), checkpoints);
    let counted = ScriptStop { line, hit: 0 };
    let script = script(input, interpreter, Some(counted));
    stage
        .run_unattended(script, input, Arc::new(replay), interrupts)
        .await?;
    events.forget();
    match stage.host.reached() {
        0 => Ok(Some(nowhere)),
        hit => Ok(Some(ScriptStop { line, hit })),
    }
}

/// Returns the line of the script that a failure comes from.
pub(super) fn failed_line(failure: &Failure, input: &TestInput) -> Option<FailedLine> {
    let number = failure.traceback.last()?.line;
    let script = input.script.script();
    let number = statement_at(script, number)?;
    Some(FailedLine {
        number,
        text: text_of(script, number)?.to_owned(),
    })
}

/// Returns the line in a script that may have been edited since.
fn line_in(script: &str, failed: &FailedLine) -> Option<u32> {
    if text_of(script, failed.number) == Some(&failed.text) {
        return Some(failed.number);
    }
    let same = (1..)
        .zip(script.lines())
        .filter(|(_, text)| text.trim() == failed.text);
    match same.collect::<Vec<_>>()[..] {
        [(number, _)] => Some(number),
        _ => None,
    }
}

fn text_of(script: &str, number: u32) -> Option<&str> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    script.lines().nth(index).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_moves_the_line() {
        let failed = FailedLine {
            number: 2,
            text: "a.fail()".to_owned(),
        };
        assert_eq!(line_in("x\n  a.fail()\n", &failed), Some(2));
        assert_eq!(line_in("x\ny\na.fail()\n", &failed), Some(3));
        assert_eq!(line_in("a.fail()\nx\na.fail()\n", &failed), None);
        assert_eq!(line_in("a.start()\n", &failed), None);
    }
}
