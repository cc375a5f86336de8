//! The keyboard of a machine, and what scripts ask of QEMU by its protocol.

use std::time::Duration;

use serde_json::Value;

use super::MachineMonitor;
use crate::machine::MachineError;
use crate::qemu::Key;

impl MachineMonitor {
    /// Presses keys together and lets them go: names of QEMU's keys, joined
    /// by `-`, such as `ctrl-alt-delete`; numbers are raw codes.
    ///
    /// # Errors
    /// Returns an error if QEMU has no such key, or the machine is off.
    pub async fn send_key(&self, combination: &str) -> Result<(), MachineError> {
        let keys: Result<Vec<Key>, _> = combination
            .split('-')
            .map(|name| {
                Key::named(name).ok_or_else(|| {
                    self.life
                        .unable(format!("has no key `{name}` to press for `{combination}`"))
                })
            })
            .collect();
        let running = self.life.running()?;
        let monitor = self.qmp(&running).await?;
        let keys = keys?;
        self.life
            .guard(&running, async { Ok(monitor.send_key(keys).await?) })
            .await
    }

    /// Runs a command of QEMU's machine protocol; returns its whole answer.
    ///
    /// # Errors
    /// Returns an error if QEMU refuses, or the machine is off.
    pub async fn qmp_send(&self, command: &str, arguments: &Value) -> Result<Value, MachineError> {
        let running = self.life.running()?;
        self.life
            .guard(&running, async {
                let protocol = running.protocol().await?;
                Ok(protocol.send(command, arguments).await?)
            })
            .await
    }

    /// The event of this number since the machine was started, counted from 0.
    ///
    /// # Errors
    /// Returns an error if there is none within `limit`, or the machine is off.
    pub async fn qmp_event(&self, number: usize, limit: Duration) -> Result<Value, MachineError> {
        let running = self.life.running()?;
        let event = self.life.guard(&running, async {
            let protocol = running.protocol().await?;
            Ok(protocol.event(number).await?)
        });
        match tokio::time::timeout(limit, event).await {
            Ok(result) => result,
            Err(_) => Err(self.life.overdue("an event of QEMU", limit).error()),
        }
    }

    /// The number of events that QEMU has sent.
    ///
    /// # Errors
    /// Returns an error if the machine is off.
    pub async fn qmp_event_count(&self) -> Result<usize, MachineError> {
        let running = self.life.running()?;
        self.life
            .guard(&running, async {
                Ok(running.protocol().await?.event_count())
            })
            .await
    }
}
