//! Performs the operations of the driver itself.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::call_error::CallError;
use super::driver_operation::DriverOperation;
use super::subtests::SubtestEnd;
use super::{DISKS, Host, free_name, lock};
use crate::backend::OnReboot;
use crate::model::event::{Event, Failure};

impl Host {
    pub(super) async fn drive(&self, operation: DriverOperation) -> Result<Value, CallError> {
        match operation {
            DriverOperation::StartAll {} => {
                for machine in self.machines().values() {
                    machine.life().start(OnReboot::End, &[]).await?;
                }
            }
            DriverOperation::JoinAll {} => {
                for machine in self.machines().values() {
                    machine.life().wait_for_shutdown().await?;
                }
            }
            DriverOperation::CreateMachine { command, name } => {
                return self.create_machine(&command, name.as_deref());
            }
            DriverOperation::SubtestStarted { name } => {
                return Ok(json!(self.start_subtest(name)));
            }
            DriverOperation::SubtestFinished { failure, r#final } => {
                let outcome = match (&failure, r#final) {
                    (None, _) => SubtestEnd::Passed,
                    (Some(_), true) => SubtestEnd::EndsScript,
                    (Some(_), false) => SubtestEnd::Failed,
                };
                return Ok(json!(self.finish_subtest(outcome, failure).await));
            }
            DriverOperation::ShowConsoles { machine, shown } => {
                let machine = machine.map(|name| self.named(&name)).transpose()?;
                self.events.emit(Event::ConsolesShown {
                    machine: machine.map(|machine| machine.name().to_owned()),
                    shown,
                });
            }
            DriverOperation::Note {
                machine,
                level,
                text,
            } => {
                self.events.emit(Event::Note {
                    machine,
                    level,
                    text,
                });
            }
            DriverOperation::Read { what } => {
                return Ok(what.now(self.clock_shift_ns.load(Ordering::Relaxed)));
            }
            DriverOperation::Random { number, .. } => {
                return Ok(json!(self.seed.script_bytes(number)));
            }
            DriverOperation::Fault { call } => {
                return Box::pin(self.make_fault_call(call)).await;
            }
            DriverOperation::Capture { call } => return self.make_capture_call(call).await,
            DriverOperation::Sleep { seconds } => {
                tokio::time::sleep(seconds.duration()).await;
            }
            DriverOperation::SaveDisks {} => {
                for machine in self.machines().values() {
                    let folder = self.output_folder.join(DISKS).join(machine.name());
                    for path in machine.save_disks(&folder).await? {
                        self.events.emit(Event::FileSaved { path });
                    }
                }
            }
            // The replay knows their results.
            DriverOperation::Checkpoint { .. }
            | DriverOperation::Rewind { .. }
            | DriverOperation::GoOutside {} => {}
            DriverOperation::Reached {} => {
                self.reached.fetch_add(1, Ordering::Relaxed);
            }
            DriverOperation::Called {
                machine,
                method,
                arguments,
            } => {
                self.events.emit(Event::Called {
                    machine,
                    method,
                    arguments,
                });
            }
        }
        Ok(json!(null))
    }

    /// Emits the start of a subtest and returns whether it runs.
    fn start_subtest(&self, name: String) -> bool {
        let runs = lock(&self.subtests).start(&name);
        if runs {
            self.captures.comment(format!("subtest begins: {name}"));
        }
        self.events.emit(if runs {
            Event::SubtestStarted { name }
        } else {
            Event::SubtestSkipped { name }
        });
        runs
    }

    /// Emits the end of a subtest and returns whether the script continues.
    async fn finish_subtest(&self, outcome: SubtestEnd, mut failure: Option<Box<Failure>>) -> bool {
        let Some(finished) = lock(&self.subtests).finish(outcome) else {
            return true;
        };
        if let (None, Some(inner)) = (&failure, &finished.failed_inside) {
            failure = Some(Box::new(Failure {
                kind: "Subtest".to_owned(),
                message: format!("a subtest in it failed: {inner}"),
                subtest: Some(finished.subtest.name.clone()),
                ..Failure::default()
            }));
        } else if let Some(failed) = &mut failure {
            failed
                .subtest
                .get_or_insert_with(|| finished.subtest.name.clone());
            if finished.goes_on {
                **failed = self.complete((**failed).clone()).await;
                lock(&self.subtests).failures.push((**failed).clone());
            }
        }
        let end = if failure.is_some() { "fails" } else { "passes" };
        let name = &finished.subtest.name;
        self.captures.comment(format!("subtest {end}: {name}"));
        self.events.emit(Event::SubtestFinished {
            name: finished.subtest.name,
            duration_s: finished.subtest.duration_s,
            failure,
        });
        finished.goes_on
    }

    fn create_machine(&self, command: &str, name: Option<&str>) -> Result<Value, CallError> {
        let wanted = name.map(str::to_owned).or_else(|| name_in(command));
        let wanted = wanted.unwrap_or_else(|| "machine".to_owned());
        let mut machines = lock(&self.machines);
        let taken = |name: &str| {
            machines
                .iter()
                .any(|(node, machine)| node == name || machine.name() == name)
        };
        let name = free_name(&wanted, taken);
        let machine = (self.factory.0)(command, &name)?;
        let entry = json!({ "node": name, "name": name, "state_dir": machine.state_folder() });
        machines.insert(name, machine);
        Ok(entry)
    }
}

/// The NAME of a run script `run-NAME-vm` in a command.
fn name_in(command: &str) -> Option<String> {
    let words = command.split_whitespace();
    words
        .filter_map(|word| {
            word.rsplit('/')
                .next()?
                .strip_prefix("run-")?
                .strip_suffix("-vm")
        })
        .map(str::to_owned)
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_scripts_tell_the_name() {
        assert_eq!(
            name_in("/nix/store/x/bin/run-web-1-vm -nographic"),
            Some("web-1".into())
        );
        assert_eq!(name_in("qemu-system-x86_64 -m 384"), None);
    }
}
