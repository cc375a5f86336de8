//! Adds to a failure what the script did not see.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Host, lock};
use crate::machine::{Machine, TAIL_LINES};
use crate::model::event::{ConsoleTail, Failure};

/// How long a picture of a display may take.
const PICTURE_LIMIT: Duration = Duration::from_secs(5);

impl Host {
    /// Adds to a failure what the script did not see: consoles,
    /// pictures, and whole outputs in files.
    pub async fn complete(&self, mut failure: Failure) -> Failure {
        if failure.subtest.is_none() {
            failure.subtest = lock(&self.subtests).at_failure();
        }
        // Later failures leave the files of earlier ones alone.
        let number = match self.completed.fetch_add(1, Ordering::Relaxed) {
            0 => String::new(),
            earlier => format!("-{}", earlier + 1),
        };
        let machines = self.machines();
        failure.console = consoles(&machines, &failure);
        self.events.bound_failure(&mut failure);
        for machine in machines.values().filter(|machine| machine.life().is_up()) {
            let name = format!("failure-{}{number}.png", machine.name());
            let picture = machine.monitor().picture(Path::new(&name));
            // A machine without a display has nothing to show.
            if let Ok(Ok(path)) = tokio::time::timeout(PICTURE_LIMIT, picture).await {
                failure.files.push(path);
            }
        }
        failure
    }
}

/// The ends of the consoles of the machines that a failure is about: the one
/// whose operation failed, those that its message names, those that have ended.
fn consoles(machines: &BTreeMap<String, Arc<Machine>>, failure: &Failure) -> Vec<ConsoleTail> {
    machines
        .values()
        .filter(|machine| machine.life().pid().is_some())
        .filter(|machine| {
            failure.details.machine.as_deref() == Some(machine.name())
                || !machine.life().is_up()
                || names(&failure.message, machine.name())
        })
        .map(|machine| ConsoleTail {
            machine: machine.name().to_owned(),
            lines: machine.life().console().tail(TAIL_LINES),
        })
        .filter(|tail| !tail.lines.is_empty())
        .collect()
}

fn names(message: &str, machine: &str) -> bool {
    message
        .split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_'))
        .any(|word| word == machine)
}
