//! The operations of a machine as data: what calls of the test API do.

use std::future;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::seconds::Seconds;
use super::shell::{Condition, Quantity, Setting, SocketKind, Wanted, fingerprint, port_hint};
use super::{Machine, MachineError, Overdue};
use crate::backend::{Link, OnReboot};
use crate::model::failed_units::about_failed;
use crate::ocr::Picture;

/// Effect of a call on a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordPolicy {
    /// The result can stand for the call in a later run, and the state that the call leads to is in the guest.
    Guest,
    /// The result can stand for the call, which is made again after a restart, as its state is in this process.
    Process,
    /// The call reads what differs each time: its result can stand for it, and it is never made again.
    Reading,
    /// The call depends on more than the guests: the recording ends with it.
    Ends,
    /// The call is about the run itself: never recorded, always made.
    Never,
}

/// Makes [`Operation`] from one entry for each operation: how it is recorded, its name as the Python of
/// `language/api` calls it (in snake case), its arguments, and the method that performs it.
///
/// A new operation is an entry here, a function in `language/api`, and the method.
macro_rules! operations {
    ($machine:ident: $($policy:ident $name:ident { $($field:ident: $type:ty),* $(,)? } => $perform:expr;)*) => {
        /// An operation with its arguments.
        ///
        /// Recordings hold it: another name or argument makes earlier recordings unreadable, and the next run is cold.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
        #[strum(serialize_all = "snake_case")]
        #[serde(tag = "operation", rename_all = "snake_case", deny_unknown_fields)]
        pub enum Operation {
            $($name { $($field: $type),* },)*
        }

        impl Operation {
            /// The operations by their names in this enum, each with the names of its arguments.
            pub const ALL: &[(&str, &[&str])] = &[$((stringify!($name), &[$(stringify!($field)),*])),*];

            /// Returns what a recording may make of the operation. Only an operation on the guest alone can be recorded:
            /// not one on QEMU, a file of the host, the text of the console (which has times in it), or the user's
            /// terminal.
            #[must_use]
            pub fn record_policy(&self) -> RecordPolicy {
                match self {
                    $(Self::$name { .. } => RecordPolicy::$policy,)*
                }
            }
        }

        impl Machine {
            /// Performs an operation; returns its result for the script.
            async fn dispatch(&self, operation: Operation) -> Result<Value, MachineError> {
                let $machine = self;
                Ok(match operation {
                    $(Operation::$name { $($field),* } => json!($perform.await?),)*
                })
            }
        }
    };
}

operations! { machine:
    // The life of the machine.
    Guest Start { allow_reboot: bool, expect: Vec<String> } => machine.life.start(OnReboot::allowed(allow_reboot), &expect);
    Ends BeginExpectation { crash: String } => future::ready(machine.life.begin_expectation(&crash));
    Ends WasSeen { expectation: u64 } => known(machine.life.was_seen(expectation));
    Ends EndExpectation { expectation: u64, crash: String, timeout: Option<Seconds> } =>
        machine.life.end_expectation(expectation, &crash, limit(timeout));
    Process FailOnConsoleText { regex: String } => future::ready(machine.life.fail_on_console_text(&regex));
    Guest IsUp {} => known(machine.life.is_up());
    Ends Pid {} => known(machine.life.pid());
    Guest Shutdown {} => machine.shell.shutdown();
    Guest Crash {} => machine.life.crash();
    Ends CrashUnflushed {} => machine.life.crash_unflushed();
    Guest Reboot {} => machine.reboot();
    Guest WaitForShutdown {} => machine.life.wait_for_shutdown();
    Ends Block {} => machine.monitor.set_networks(Link::Down);
    Ends Unblock {} => machine.monitor.set_networks(Link::Up);

    // The serial console.
    Ends ConsoleText { position: usize } => known(machine.life.console().since(position));
    Ends WaitForConsole { position: usize, timeout: Option<Seconds> } => machine.life.wait_for_console(position, limit(timeout));
    Guest SendConsole { text: String } => machine.life.send_console(&text);
    Ends ConsoleInteract {} => machine.shell.console_interact();
    Ends SshBackdoorCommand {} => future::ready(machine.ssh_backdoor_command());

    // The guest's shell.
    Guest Connect {} => machine.shell.connect();
    Guest Disconnect {} => machine.shell.disconnect();
    Guest IsConnected {} => known(machine.shell.is_connected());
    Guest Execute { command: String, check_return: bool, check_output: bool, timeout: Option<Seconds>, setting: Setting } =>
        machine.shell.execute_command(&command, &setting, Wanted { output: check_output, status: check_return }, limit(timeout));
    Guest Succeed { commands: Vec<String>, timeout: Option<Seconds>, setting: Setting } =>
        machine.shell.succeed(&commands, &setting, limit(timeout));
    Guest Fail { commands: Vec<String>, timeout: Option<Seconds>, setting: Setting } =>
        machine.shell.fail(&commands, &setting, limit(timeout));
    Guest Sleep { seconds: Seconds } => machine.shell.sleep(seconds);
    Guest StartBackground { command: String, setting: Setting } => machine.shell.start_background(&command, &setting);
    Guest WaitForBackground { folder: String, command: String, timeout: Seconds } =>
        machine.shell.wait_for_background(&folder, &command, timeout.duration());
    Ends SendShell { data: String } => machine.shell.send_shell(&data);
    Ends ReceiveShell {} => machine.shell.receive_shell();
    Ends ShellInteract { address: Option<String> } => Box::pin(machine.shell.shell_interact(address.as_deref()));

    Guest KillProcesses { pattern: String, signal: String } => machine.kill_processes(&pattern, &signal);
    Ends JumpClock { seconds: i64 } => machine.jump_clock(seconds);

    // Waits in the guest.
    Guest WaitUntilSucceeds { command: String, timeout: Seconds, setting: Setting } =>
        machine.shell.wait_until_succeeds(&command, &setting, timeout.duration());
    Guest WaitUntilFails { command: String, timeout: Seconds, setting: Setting } =>
        machine.shell.wait_until_fails(&command, &setting, timeout.duration());
    Guest WaitForFile { filename: String, timeout: Seconds } => machine.shell.wait_for_file(&filename, timeout.duration());
    Guest WaitForOpenPort { port: u16, address: String, timeout: Seconds } =>
        machine.shell.wait_for_open_port(port, &address, timeout.duration());
    Guest WaitForClosedPort { port: u16, address: String, timeout: Seconds } =>
        machine.shell.wait_for_closed_port(port, &address, timeout.duration());
    Guest WaitForConditions { conditions: Vec<Condition>, wanted: Quantity, timeout: Seconds } =>
        machine.shell.wait_for_conditions(&conditions, wanted, timeout.duration());
    Guest WaitForUnixSocket { path: String, datagram: bool, timeout: Seconds } =>
        machine.shell.wait_for_unix_socket(&path, SocketKind::of(datagram), timeout.duration());

    // Units.
    Guest WaitForUnit { unit: String, user: Option<String>, timeout: Seconds } =>
        machine.shell.wait_for_unit(&unit, user.as_deref(), timeout.duration());
    Process ExpectFailed { unit: String } => async { machine.shell.expect_failed(&unit); Ok::<_, MachineError>(()) };
    Guest UnitInfo { unit: String, user: Option<String> } => machine.shell.unit_info(&unit, user.as_deref());
    Guest UnitProperty { unit: String, property: String, user: Option<String> } =>
        machine.shell.unit_property(&unit, &property, user.as_deref());
    Guest Systemctl { query: String, user: Option<String> } => machine.shell.systemctl(&query, user.as_deref());

    // Files.
    Guest CopyFromHost { source: PathBuf, target: String } => machine.shell.copy_from_host(&source, &target);
    Ends CopyFromMachine { source: String, target: String } => machine.shell.copy_from_machine(&source, &target);

    // QEMU's monitor: display, keyboard, events.
    Ends Screenshot { name: String } => machine.monitor.screenshot(&name);
    Ends ScreenText { pictures: Vec<Picture> } => machine.monitor.screen_text(&pictures);
    Guest SendKey { key: String } => machine.monitor.send_key(&key);
    Ends MonitorCommand { command: String } => machine.monitor.human(&command);
    Ends QmpSend { command: String, arguments: Value } => machine.monitor.qmp_send(&command, &arguments);
    Ends QmpEvent { number: usize, timeout: Seconds } => machine.monitor.qmp_event(number, timeout.duration());
    Ends QmpEventCount {} => machine.monitor.qmp_event_count();
}

/// Returns a result that is known at once.
fn known<T>(value: T) -> future::Ready<Result<T, MachineError>> {
    future::ready(Ok(value))
}

fn limit(timeout: Option<Seconds>) -> Option<Duration> {
    timeout.map(Seconds::duration)
}

impl Operation {
    /// Returns the name as the Python of the test API calls it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.into()
    }

    /// Whether the operation waits for the guest's shell, and changes nothing in the guest.
    #[must_use]
    pub fn only_connects(&self) -> bool {
        matches!(self, Self::Connect {})
    }

    /// Whether the text goes to a terminal, where a NUL byte is a character as others are.
    #[must_use]
    pub fn is_typed(&self) -> bool {
        matches!(self, Self::SendShell { .. } | Self::SendConsole { .. })
    }

    /// Returns a digest of the files of the host that the operation takes, as they are now; `None` if it takes none.
    #[must_use]
    pub fn fingerprint(&self) -> Option<String> {
        match self {
            Self::CopyFromHost { source, .. } => Some(fingerprint(source)),
            _ => None,
        }
    }
}

impl Machine {
    /// Performs an operation; returns its result for the script. A full disk of the host is no failure of the test: it is
    /// reported as a fault, too.
    ///
    /// # Errors
    /// Returns the errors of the operation.
    pub async fn perform(&self, operation: Operation) -> Result<Value, MachineError> {
        let mut performed = self.dispatch(operation).await;
        self.life.report_host_fault(performed.as_ref().err());
        if let Err(MachineError::Timeout(overdue)) = &mut performed {
            self.explain_overdue(overdue).await;
        }
        performed
    }

    /// Adds the likely reasons to a wait that has run out of time.
    async fn explain_overdue(&self, overdue: &mut Overdue) {
        let own = overdue.details.unit.as_ref().map(|state| &*state.unit);
        let failed = self.shell.failed_units(own).await;
        if let Some(awaited) = overdue.port.as_ref().filter(|awaited| awaited.is_own())
            && let Some(listeners) = self.shell.listeners().await
        {
            overdue
                .hint
                .push_str(&port_hint(awaited.port, &listeners, None));
        }
        overdue.hint.push_str(&about_failed(&failed));
        overdue.details.failed_units = failed;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_are_read_from_the_scripts_calls() {
        let call = json!({"operation": "wait_for_file", "filename": "/x", "timeout": 5});
        let operation: Operation = serde_json::from_value(call).unwrap();
        let expected = Operation::WaitForFile {
            filename: "/x".to_owned(),
            timeout: Seconds::from(5.0),
        };
        assert_eq!(operation, expected);
        assert_eq!(operation.name(), "wait_for_file");
        // As it is in a recording.
        let written = serde_json::to_value(&operation).unwrap();
        assert_eq!(
            serde_json::from_value::<Operation>(written).unwrap(),
            expected
        );
    }
}
