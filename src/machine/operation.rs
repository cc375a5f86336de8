//! The operations of a machine as data: what calls of the test API do.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use strum::IntoStaticStr;

use super::commands::Setting;
use super::conditions::{Condition, Quantity};
use super::files::fingerprint;
use super::seconds::Seconds;
use crate::ocr::Picture;

/// An operation with its arguments. Its name and theirs are those of the calls in `language/api`.
///
/// Recordings hold it: another name or argument makes those of before unreadable, and runs cold once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
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
        timeout: Option<Seconds>,
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
        timeout: Option<Seconds>,
        setting: Setting,
    },
    Succeed {
        commands: Vec<String>,
        timeout: Option<Seconds>,
        setting: Setting,
    },
    Fail {
        commands: Vec<String>,
        timeout: Option<Seconds>,
        setting: Setting,
    },
    WaitUntilSucceeds {
        command: String,
        timeout: Seconds,
        setting: Setting,
    },
    WaitUntilFails {
        command: String,
        timeout: Seconds,
        setting: Setting,
    },
    WaitForUnit {
        unit: String,
        user: Option<String>,
        timeout: Seconds,
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
        timeout: Seconds,
    },
    WaitForOpenPort {
        port: u16,
        address: String,
        timeout: Seconds,
    },
    WaitForClosedPort {
        port: u16,
        address: String,
        timeout: Seconds,
    },
    WaitForConditions {
        conditions: Vec<Condition>,
        wanted: Quantity,
        timeout: Seconds,
    },
    WaitForUnixSocket {
        path: String,
        datagram: bool,
        timeout: Seconds,
    },
    StartBackground {
        command: String,
        setting: Setting,
    },
    WaitForBackground {
        folder: String,
        command: String,
        timeout: Seconds,
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
        timeout: Option<Seconds>,
    },
    SendConsole {
        text: String,
    },
    Sleep {
        seconds: Seconds,
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
        timeout: Seconds,
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

/// What a recording may make of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordPolicy {
    /// Its result can stand for it in a later run, and the state that it leads to is in the guest.
    Guest,
    /// Its result can stand for it, and it is made again after a restart, as its state is in this process.
    Process,
    /// It reads what differs each time: its result can stand for it, and it is never made again.
    Reading,
    /// It depends on more than the guests: the recording ends with it.
    Ends,
    /// It is about the run itself: never recorded, always made.
    Never,
}

impl Operation {
    /// The name, as the test API calls it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.into()
    }

    /// Only what is about the guest alone can be recorded: not about QEMU, a file of the host's, the console's
    /// text (which has times in it) or the user at the terminal.
    #[must_use]
    pub fn record_policy(&self) -> RecordPolicy {
        use Operation as Op;
        match self {
            Op::FailOnConsoleText { .. } => RecordPolicy::Process,
            Op::Start { .. }
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
            | Op::SendKey { .. } => RecordPolicy::Guest,
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
            | Op::MonitorCommand { .. } => RecordPolicy::Ends,
        }
    }

    /// Whether it waits for the guest's shell, and changes nothing in the guest.
    #[must_use]
    pub fn only_connects(&self) -> bool {
        matches!(self, Self::Connect {})
    }

    /// Whether its text goes to a terminal, where a NUL byte is a character as others are.
    #[must_use]
    pub fn is_typed(&self) -> bool {
        matches!(self, Self::SendShell { .. } | Self::SendConsole { .. })
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
