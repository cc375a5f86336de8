//! The operations of the driver itself, as data.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strum::IntoStaticStr;

use super::capture::CaptureCall;
use super::fault::FaultCall;
use crate::event_bus::monotonic_ns;
use crate::machine::{RecordPolicy, Seconds};
use crate::model::event::{Failure, Level};

/// An operation of the driver itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[serde(tag = "operation", rename_all = "snake_case", deny_unknown_fields)]
pub enum DriverOperation {
    StartAll {},
    JoinAll {},
    CreateMachine {
        command: String,
        name: Option<String>,
    },
    SubtestStarted {
        name: String,
    },
    SubtestFinished {
        failure: Option<Box<Failure>>,
        /// Whether the script ends with it, whatever else is wanted.
        r#final: bool,
    },
    ShowConsoles {
        machine: Option<String>,
        shown: bool,
    },
    Note {
        machine: Option<String>,
        level: Level,
        text: String,
    },
    /// Something that is another each time.
    Read {
        what: Reading,
    },
    /// The random bytes of this number: sixteen of them, in hexadecimal digits.
    Random {
        number: u64,
        /// The seed that the user has given, so that a recording of another one is none of this run; `None` if the user
        /// has given none.
        seed: Option<u64>,
    },
    Sleep {
        seconds: Seconds,
    },
    Checkpoint {
        name: String,
        keep_time: bool,
    },
    /// The disks of all virtual machines are copied into the output folder.
    SaveDisks {},
    /// All machines become as they were at a checkpoint.
    Rewind {
        name: String,
    },
    Fault {
        call: FaultCall,
    },
    Capture {
        call: CaptureCall,
    },
    /// The script turns to something that is none of its machines.
    GoOutside {},
    /// The script has come to the statement that is counted.
    Reached {},
    /// A call that is only written down.
    Called {
        machine: String,
        method: String,
        arguments: Value,
    },
}

/// A value that differs each time a script reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    TimeNs,
    MonotonicNs,
}

impl DriverOperation {
    /// The name, as the test API calls it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.into()
    }

    #[must_use]
    pub fn record_policy(&self) -> RecordPolicy {
        use DriverOperation as Op;
        match self {
            Op::StartAll {}
            | Op::JoinAll {}
            | Op::Sleep { .. }
            | Op::Checkpoint { .. }
            | Op::Rewind { .. } => RecordPolicy::Guest,
            Op::Read { .. } | Op::Random { .. } => RecordPolicy::Reading,
            Op::CreateMachine { .. }
            | Op::GoOutside {}
            | Op::SaveDisks {}
            | Op::Fault { .. }
            | Op::Capture { .. } => RecordPolicy::Ends,
            Op::SubtestStarted { .. }
            | Op::SubtestFinished { .. }
            | Op::ShowConsoles { .. }
            | Op::Note { .. }
            | Op::Reached {}
            | Op::Called { .. } => RecordPolicy::Never,
        }
    }
}

impl Reading {
    /// Returns what it is now; `shift_ns` is added to the clock that only goes forward.
    #[must_use]
    pub fn now(&self, shift_ns: i64) -> Value {
        match self {
            Self::TimeNs => {
                let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
                json!(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
            }
            Self::MonotonicNs => json!(monotonic_ns().saturating_add(shift_ns)),
        }
    }
}
