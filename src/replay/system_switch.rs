//! Switches a restored NixOS machine to another system.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Restart;
use crate::host::{Call, Host};
use crate::machine::{Operation, Setting};
use crate::model::event::{Event, Level};

/// How long a switch may take.
const LIMIT: Duration = Duration::from_mins(15);

/// How many lines of a failed switch are shown.
const MOST_LINES: usize = 5;

/// A machine, and the system that it is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemSwitch {
    /// The node of the machine.
    pub machine: String,
    /// The system, whose store path the machine sees.
    pub toplevel: PathBuf,
}

impl SystemSwitch {
    /// Activates the system, as `nixos-rebuild test` does.
    ///
    /// # Errors
    /// Returns an error if that fails: the run is to begin again, and the machine to boot.
    pub(super) async fn make(&self, host: &Host) -> Result<(), Restart> {
        let begin = Instant::now();
        let program = self.toplevel.join("bin/switch-to-configuration");
        let program = program.to_string_lossy();
        let program =
            shlex::try_quote(&program).map_err(|error| self.failed(&error.to_string()))?;
        let result = host
            .make(Call::Machine {
                machine: self.machine.clone(),
                operation: Operation::Execute {
                    command: format!("{program} test 2>&1"),
                    check_return: true,
                    check_output: true,
                    timeout: Some(LIMIT.as_secs_f64().into()),
                    setting: Setting::default(),
                },
            })
            .await
            .map_err(|error| self.failed(&error.message))?;
        match (result[0].as_i64(), &result[1]) {
            (Some(0), _) => {
                host.events.emit(Event::Note {
                    machine: Some(self.machine.clone()),
                    level: Level::Info,
                    text: format!(
                        "switched to the new system in {:.1} s, without a boot",
                        begin.elapsed().as_secs_f64()
                    ),
                });
                Ok(())
            }
            (status, output) => {
                let lines: Vec<&str> = output.as_str().unwrap_or_default().lines().collect();
                let end = lines[lines.len().saturating_sub(MOST_LINES)..].join("\n");
                let status = status.map_or(Value::Null, Value::from);
                Err(self.failed(&format!("it ended with status {status}: {end}")))
            }
        }
    }

    fn failed(&self, reason: &str) -> Restart {
        Restart::Unusable(format!(
            "{} cannot be switched to its new system: {reason}",
            self.machine
        ))
    }
}
