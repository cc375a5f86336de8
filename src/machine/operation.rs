//! The operations of a machine as data: what calls of the test API do.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::commands::Setting;
use super::conditions::{Condition, Quantity};
use super::files::fingerprint;
use super::waits::SocketKind;
use super::{Machine, MachineError, OnReboot};
use crate::ocr::Picture;
use crate::qemu::{Expect, Link};

/// An operation with its arguments. Durations are seconds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case", deny_unknown_fields)]
pub enum Operation {
    Start {
        allow_reboot: bool,
        /// Crashes that do not end the test.
        expect: Vec<String>,
    },
    BeginExpectation {
        crash: String,
    },
    WasSeen {
        expectation: u64,
    },
    EndExpectation {
        expectation: u64,
        crash: String,
        timeout: Option<f64>,
    },
    FailOnConsoleText {
        regex: String,
    },
    Connect {},
    Disconnect {},
    IsUp {},
    IsConnected {},
    Pid {},
    Execute {
        command: String,
        check_return: bool,
        check_output: bool,
        timeout: Option<f64>,
        setting: Setting,
    },
    Succeed {
        commands: Vec<String>,
        timeout: Option<f64>,
        setting: Setting,
    },
    Fail {
        commands: Vec<String>,
        timeout: Option<f64>,
        setting: Setting,
    },
    WaitUntilSucceeds {
        command: String,
        timeout: f64,
        setting: Setting,
    },
    WaitUntilFails {
        command: String,
        timeout: f64,
        setting: Setting,
    },
    WaitForUnit {
        unit: String,
        user: Option<String>,
        timeout: f64,
    },
    UnitInfo {
        unit: String,
        user: Option<String>,
    },
    UnitProperty {
        unit: String,
        property: String,
        user: Option<String>,
    },
    Systemctl {
        query: String,
        user: Option<String>,
    },
    WaitForFile {
        filename: String,
        timeout: f64,
    },
    WaitForOpenPort {
        port: u16,
        address: String,
        timeout: f64,
    },
    WaitForClosedPort {
        port: u16,
        address: String,
        timeout: f64,
    },
    WaitForConditions {
        conditions: Vec<Condition>,
        wanted: Quantity,
        timeout: f64,
    },
    WaitForUnixSocket {
        path: String,
        datagram: bool,
        timeout: f64,
    },
    StartBackground {
        command: String,
        setting: Setting,
    },
    WaitForBackground {
        folder: String,
        command: String,
        timeout: f64,
    },
    /// Bytes as characters.
    SendShell {
        data: String,
    },
    ConsoleText {
        position: usize,
    },
    WaitForConsole {
        position: usize,
        timeout: Option<f64>,
    },
    SendConsole {
        text: String,
    },
    Sleep {
        seconds: f64,
    },
    Shutdown {},
    Crash {},
    Reboot {},
    WaitForShutdown {},
    CopyFromHost {
        source: PathBuf,
        target: String,
    },
    CopyFromMachine {
        source: String,
        target: String,
    },
    Screenshot {
        name: String,
    },
    SetNetworks {
        up: bool,
    },
    ScreenText {
        pictures: Vec<Picture>,
    },
    SendKey {
        key: String,
    },
    QmpSend {
        command: String,
        arguments: Value,
    },
    QmpEvent {
        number: usize,
        timeout: f64,
    },
    QmpEventCount {},
    ShellInteract {
        address: Option<String>,
    },
    ConsoleInteract {},
    MonitorCommand {
        command: String,
    },
}

impl Operation {
    /// Whether its result can stand for it in a later run, and whether doing
    /// it again brings the guest to the same state: it is about the guest
    /// alone, and not about QEMU, a file of the host's, the console's text
    /// (which has times in it) or the user at the terminal.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        use Operation as Op;
        match self {
            Op::Start { .. }
            | Op::FailOnConsoleText { .. }
            | Op::Connect {}
            | Op::Disconnect {}
            | Op::IsUp {}
            | Op::IsConnected {}
            | Op::Execute { .. }
            | Op::Succeed { .. }
            | Op::Fail { .. }
            | Op::WaitUntilSucceeds { .. }
            | Op::WaitUntilFails { .. }
            | Op::WaitForUnit { .. }
            | Op::UnitInfo { .. }
            | Op::UnitProperty { .. }
            | Op::Systemctl { .. }
            | Op::WaitForFile { .. }
            | Op::WaitForOpenPort { .. }
            | Op::WaitForClosedPort { .. }
            | Op::WaitForConditions { .. }
            | Op::WaitForUnixSocket { .. }
            | Op::StartBackground { .. }
            | Op::WaitForBackground { .. }
            | Op::SendConsole { .. }
            | Op::Sleep { .. }
            | Op::Shutdown {}
            | Op::Crash {}
            | Op::Reboot {}
            | Op::WaitForShutdown {}
            | Op::CopyFromHost { .. }
            | Op::SendKey { .. } => true,
            Op::BeginExpectation { .. }
            | Op::WasSeen { .. }
            | Op::EndExpectation { .. }
            | Op::Pid {}
            | Op::SendShell { .. }
            | Op::ConsoleText { .. }
            | Op::WaitForConsole { .. }
            | Op::CopyFromMachine { .. }
            | Op::Screenshot { .. }
            | Op::SetNetworks { .. }
            | Op::ScreenText { .. }
            | Op::QmpSend { .. }
            | Op::QmpEvent { .. }
            | Op::QmpEventCount {}
            | Op::ShellInteract { .. }
            | Op::ConsoleInteract {}
            | Op::MonitorCommand { .. } => false,
        }
    }

    /// Whether it is this program that remembers it, and no guest.
    #[must_use]
    pub fn is_remembered_here(&self) -> bool {
        matches!(self, Self::FailOnConsoleText { .. })
    }

    /// Stands for the files of the host that it takes, as they are now; None
    /// where it takes none.
    #[must_use]
    pub fn fingerprint(&self) -> Option<String> {
        match self {
            Self::CopyFromHost { source, .. } => Some(fingerprint(source)),
            _ => None,
        }
    }
}

impl Machine {
    /// Does it; returns what the script is to have back.
    ///
    /// # Errors
    /// Those of the operation.
    #[expect(clippy::too_many_lines, reason = "one arm for each operation")]
    pub async fn perform(self: &Arc<Self>, operation: Operation) -> Result<Value, MachineError> {
        use Operation as Op;
        Ok(match operation {
            Op::Start {
                allow_reboot,
                expect,
            } => {
                let on_reboot = if allow_reboot {
                    OnReboot::Continue
                } else {
                    OnReboot::End
                };
                json!(self.start(on_reboot, &expect).await?)
            }
            Op::BeginExpectation { crash } => json!(self.begin_expectation(&crash)?),
            Op::WasSeen { expectation } => json!(self.was_seen(expectation)),
            Op::EndExpectation {
                expectation,
                crash,
                timeout,
            } => json!(
                self.end_expectation(expectation, &crash, timeout.map(seconds))
                    .await?
            ),
            Op::FailOnConsoleText { regex } => json!(self.fail_on_console_text(&regex)?),
            Op::Connect {} => json!(self.connect().await?),
            Op::Disconnect {} => json!(self.disconnect().await),
            Op::IsUp {} => json!(self.is_up()),
            Op::IsConnected {} => json!(self.is_connected()),
            Op::Pid {} => json!(self.pid()),
            Op::Execute {
                command,
                check_return,
                check_output,
                timeout,
                setting,
            } => {
                let expect = match (check_output, check_return) {
                    (true, true) => Expect::OutputAndStatus,
                    (true, false) => Expect::Output,
                    (false, _) => Expect::Nothing,
                };
                let outcome = self
                    .execute(
                        &self.dress(&command, &setting)?,
                        expect,
                        timeout.map(seconds),
                    )
                    .await?;
                // What nixpkgs' driver returns without asking.
                let missing = if check_output { -1 } else { -2 };
                let output = String::from_utf8_lossy(&outcome.output);
                json!([outcome.status.unwrap_or(missing), output])
            }
            Op::Succeed {
                commands,
                timeout,
                setting,
            } => {
                json!(
                    self.succeed(&commands, &setting, timeout.map(seconds))
                        .await?
                )
            }
            Op::Fail {
                commands,
                timeout,
                setting,
            } => {
                json!(self.fail(&commands, &setting, timeout.map(seconds)).await?)
            }
            Op::WaitUntilSucceeds {
                command,
                timeout,
                setting,
            } => {
                json!(
                    self.wait_until_succeeds(&command, &setting, seconds(timeout))
                        .await?
                )
            }
            Op::WaitUntilFails {
                command,
                timeout,
                setting,
            } => {
                json!(
                    self.wait_until_fails(&command, &setting, seconds(timeout))
                        .await?
                )
            }
            Op::WaitForUnit {
                unit,
                user,
                timeout,
            } => {
                json!(
                    self.wait_for_unit(&unit, user.as_deref(), seconds(timeout))
                        .await?
                )
            }
            Op::UnitInfo { unit, user } => json!(self.unit_info(&unit, user.as_deref()).await?),
            Op::UnitProperty {
                unit,
                property,
                user,
            } => {
                json!(
                    self.unit_property(&unit, &property, user.as_deref())
                        .await?
                )
            }
            Op::Systemctl { query, user } => json!(self.systemctl(&query, user.as_deref()).await?),
            Op::WaitForFile { filename, timeout } => {
                json!(self.wait_for_file(&filename, seconds(timeout)).await?)
            }
            Op::WaitForOpenPort {
                port,
                address,
                timeout,
            } => {
                json!(
                    self.wait_for_open_port(port, &address, seconds(timeout))
                        .await?
                )
            }
            Op::WaitForClosedPort {
                port,
                address,
                timeout,
            } => {
                json!(
                    self.wait_for_closed_port(port, &address, seconds(timeout))
                        .await?
                )
            }
            Op::WaitForConditions {
                conditions,
                wanted,
                timeout,
            } => {
                json!(
                    self.wait_for_conditions(&conditions, wanted, seconds(timeout))
                        .await?
                )
            }
            Op::WaitForUnixSocket {
                path,
                datagram,
                timeout,
            } => {
                let kind = if datagram {
                    SocketKind::Datagram
                } else {
                    SocketKind::Stream
                };
                json!(
                    self.wait_for_unix_socket(&path, kind, seconds(timeout))
                        .await?
                )
            }
            Op::StartBackground { command, setting } => {
                json!(self.start_background(&command, &setting).await?)
            }
            Op::WaitForBackground {
                folder,
                command,
                timeout,
            } => {
                json!(
                    self.wait_for_background(&folder, &command, seconds(timeout))
                        .await?
                )
            }
            Op::SendShell { data } => json!(self.send_shell(&data).await?),
            Op::ConsoleText { position } => json!(self.console().since(position)),
            Op::WaitForConsole { position, timeout } => {
                json!(
                    self.wait_for_console(position, timeout.map(seconds))
                        .await?
                )
            }
            Op::SendConsole { text } => json!(self.send_console(&text).await?),
            Op::Sleep { seconds } => json!(
                self.succeed(&[format!("sleep {seconds}")], &Setting::default(), None)
                    .await
                    .map(drop)?
            ),
            Op::Shutdown {} => json!(self.shutdown().await?),
            Op::Crash {} => json!(self.crash().await?),
            Op::Reboot {} => json!(self.reboot().await?),
            Op::WaitForShutdown {} => json!(self.wait_for_shutdown().await?),
            Op::CopyFromHost { source, target } => {
                json!(self.copy_from_host(&source, &target).await?)
            }
            Op::CopyFromMachine { source, target } => {
                json!(self.copy_from_machine(&source, &target).await?)
            }
            Op::Screenshot { name } => json!(self.screenshot(&name).await?),
            Op::SetNetworks { up } => {
                let link = if up { Link::Up } else { Link::Down };
                json!(self.set_networks(link).await?)
            }
            Op::ScreenText { pictures } => json!(self.screen_text(&pictures).await?),
            Op::SendKey { key } => json!(self.send_key(&key).await?),
            Op::QmpSend { command, arguments } => self.qmp_send(&command, &arguments).await?,
            Op::QmpEvent { number, timeout } => self.qmp_event(number, seconds(timeout)).await?,
            Op::QmpEventCount {} => json!(self.qmp_event_count().await?),
            Op::ShellInteract { address } => {
                json!(Box::pin(self.shell_interact(address.as_deref())).await?)
            }
            Op::ConsoleInteract {} => json!(self.console_interact().await?),
            Op::MonitorCommand { command } => json!(self.human(&command).await?),
        })
    }

    /// Waits until the console is longer than `position`; returns what is new,
    /// which is nothing if the time is over first, and the position of its end.
    async fn wait_for_console(
        self: &Arc<Self>,
        position: usize,
        limit: Option<Duration>,
    ) -> Result<(String, usize), MachineError> {
        let running = self.running()?;
        let grown = async {
            self.console().longer_than(position).await;
            Ok(())
        };
        let waiting = self.guard(&running, grown);
        match limit {
            None => waiting.await?,
            Some(limit) => match tokio::time::timeout(limit, waiting).await {
                Ok(result) => result?,
                Err(_) => return Ok((String::new(), position)),
            },
        }
        Ok(self.console().since(position))
    }
}

/// Seconds of a script as a duration; what is no length of time is none.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(if seconds > 0.0 {
        Duration::MAX / 4
    } else {
        Duration::ZERO
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_read_from_the_scripts_calls() {
        let call = json!({"operation": "wait_for_file", "filename": "/x", "timeout": 5});
        let operation: Operation = serde_json::from_value(call).unwrap();
        assert_eq!(
            operation,
            Operation::WaitForFile {
                filename: "/x".to_owned(),
                timeout: 5.0
            }
        );
    }

    #[test]
    fn lengths_of_time_are_never_negative_or_endless() {
        assert_eq!(seconds(-1.0), Duration::ZERO);
        assert_eq!(seconds(f64::NAN), Duration::ZERO);
        assert!(seconds(f64::INFINITY) > Duration::from_secs(1_000_000));
    }
}
