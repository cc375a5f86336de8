//! Performs the operations of a machine.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::commands::Setting;
use super::operation::Operation;
use super::seconds::Seconds;
use super::waits::SocketKind;
use super::{Machine, MachineError};
use crate::agent::Expect;
use crate::backend::{Link, OnReboot};

impl Machine {
    /// Does it; returns what the script is to have back. A full disk of the host is no
    /// failure of the test: it is reported as a fault, too.
    ///
    /// # Errors
    /// Those of the operation.
    pub async fn perform(self: &Arc<Self>, operation: Operation) -> Result<Value, MachineError> {
        let performed = self.dispatch(operation).await;
        self.report_host_fault(performed.as_ref().err());
        performed
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each operation")]
    async fn dispatch(self: &Arc<Self>, operation: Operation) -> Result<Value, MachineError> {
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
                self.end_expectation(expectation, &crash, timeout.map(Seconds::duration))
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
                    .execute_as(
                        &self.dress(&command, &setting)?,
                        &setting.explain(&command),
                        expect,
                        timeout.map(Seconds::duration),
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
                    self.succeed(&commands, &setting, timeout.map(Seconds::duration))
                        .await?
                )
            }
            Op::Fail {
                commands,
                timeout,
                setting,
            } => {
                json!(
                    self.fail(&commands, &setting, timeout.map(Seconds::duration))
                        .await?
                )
            }
            Op::WaitUntilSucceeds {
                command,
                timeout,
                setting,
            } => {
                json!(
                    self.wait_until_succeeds(&command, &setting, timeout.duration())
                        .await?
                )
            }
            Op::WaitUntilFails {
                command,
                timeout,
                setting,
            } => {
                json!(
                    self.wait_until_fails(&command, &setting, timeout.duration())
                        .await?
                )
            }
            Op::WaitForUnit {
                unit,
                user,
                timeout,
            } => {
                json!(
                    self.wait_for_unit(&unit, user.as_deref(), timeout.duration())
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
                json!(self.wait_for_file(&filename, timeout.duration()).await?)
            }
            Op::WaitForOpenPort {
                port,
                address,
                timeout,
            } => {
                json!(
                    self.wait_for_open_port(port, &address, timeout.duration())
                        .await?
                )
            }
            Op::WaitForClosedPort {
                port,
                address,
                timeout,
            } => {
                json!(
                    self.wait_for_closed_port(port, &address, timeout.duration())
                        .await?
                )
            }
            Op::WaitForConditions {
                conditions,
                wanted,
                timeout,
            } => {
                json!(
                    self.wait_for_conditions(&conditions, wanted, timeout.duration())
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
                    self.wait_for_unix_socket(&path, kind, timeout.duration())
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
                    self.wait_for_background(&folder, &command, timeout.duration())
                        .await?
                )
            }
            Op::SendShell { data } => json!(self.send_shell(&data).await?),
            Op::ConsoleText { position } => json!(self.console().since(position)),
            Op::WaitForConsole { position, timeout } => {
                json!(
                    self.wait_for_console(position, timeout.map(Seconds::duration))
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
            Op::QmpEvent { number, timeout } => self.qmp_event(number, timeout.duration()).await?,
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
