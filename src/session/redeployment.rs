//! Machines that have changed since the last run, and are switched to their new system instead of booted.

use std::path::Path;

use super::input::{ChangedMachines, ReplayMode, TestInput};
use super::replay_plan::{ReplayPlan, key};
use crate::checkpoint::CheckpointStore;
use crate::model::manifest::{Node, SnapshotStore};
use crate::replay::SystemSwitch;

/// Returns the input of a run whose changed machines are those of the last run at first, and the plan that switches them;
/// `None` if they have to boot, or none has changed.
pub(super) fn redeployment(input: &TestInput) -> Option<(TestInput, ReplayPlan)> {
    let settings = &input.settings;
    if settings.changed_machines == ChangedMachines::Boot || settings.replay != ReplayMode::Enabled
    {
        return None;
    }
    let recorded = CheckpointStore::own()?.recorded_scripts(&key(&input.manifest, &input.host))?;
    let mut input = input.clone();
    let mut switches = Vec::new();
    for (name, node) in &mut input.manifest.nodes {
        let before = recorded.get(name)?;
        if node.start_script.as_ref() == Some(before) {
            continue;
        }
        switches.push(SystemSwitch {
            machine: name.clone(),
            toplevel: switchable(node, before)?.to_owned(),
        });
        node.start_script = Some(before.clone());
    }
    if switches.is_empty() {
        return None;
    }
    let plan = ReplayPlan::of(&input).redeploying(switches)?;
    Some((input, plan))
}

/// Returns the system that a restored machine can be switched to: it has to see the host's store, and its run script of
/// then has to be there.
fn switchable<'a>(node: &'a Node, before: &Path) -> Option<&'a Path> {
    let sees_store = node.snapshot_store != Some(SnapshotStore::Image);
    (sees_store && before.exists())
        .then_some(node.toplevel.as_deref())
        .flatten()
}
