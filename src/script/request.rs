//! What a script's calls ask for, as data, and what a record of them may make of each.

use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::event::{Failure, Level};
use crate::machine::{Clock, Machine, Operation};

/// What a call asks for.
#[derive(Debug)]
pub(super) enum Request {
    Driver(DriverOperation),
    Machine(Arc<Machine>, Operation),
}

/// What is asked of the driver itself.
#[derive(Debug, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum DriverOperation {
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
    Sleep {
        seconds: f64,
    },
    Checkpoint {
        name: String,
        keep_time: bool,
    },
    /// The script turns to something that is none of its machines.
    GoOutside {},
    /// A call that is only written down.
    Called {
        machine: String,
        method: String,
        arguments: Value,
    },
}

/// What a script can read that is another each time.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reading {
    TimeNs,
    MonotonicNs,
    /// Sixteen bytes, in hexadecimal digits.
    Random,
}

impl Request {
    /// Whether it is about the run itself, and neither recorded nor answered.
    pub fn is_told_only(&self) -> bool {
        use DriverOperation as Op;
        matches!(
            self,
            Self::Driver(
                Op::SubtestStarted { .. }
                    | Op::SubtestFinished { .. }
                    | Op::ShowConsoles { .. }
                    | Op::Note { .. }
                    | Op::Called { .. }
            )
        )
    }

    /// The subtest that begins with it.
    pub fn subtest(&self) -> Option<&str> {
        match self {
            Self::Driver(DriverOperation::SubtestStarted { name }) => Some(name),
            _ => None,
        }
    }

    /// Whether its result can stand for it in a later run.
    pub fn is_repeatable(&self) -> bool {
        use DriverOperation as Op;
        match self {
            Self::Machine(_, operation) => operation.is_repeatable(),
            Self::Driver(operation) => {
                !matches!(operation, Op::CreateMachine { .. } | Op::GoOutside {})
            }
        }
    }

    pub fn is_of_machine(&self) -> bool {
        matches!(self, Self::Machine(..))
    }

    /// Whether it reads what is another each time.
    pub fn is_reading(&self) -> bool {
        matches!(self, Self::Driver(DriverOperation::Read { .. }))
    }

    pub fn is_remembered_here(&self) -> bool {
        matches!(self, Self::Machine(_, operation) if operation.is_remembered_here())
    }

    pub fn fingerprint(&self) -> Option<String> {
        match self {
            Self::Machine(_, operation) => operation.fingerprint(),
            Self::Driver(_) => None,
        }
    }

    /// The name of the checkpoint that it asks for.
    pub fn checkpoint(&self) -> Option<(String, Clock)> {
        match self {
            Self::Driver(DriverOperation::Checkpoint { name, keep_time }) => {
                let clock = if *keep_time {
                    Clock::AsSaved
                } else {
                    Clock::FromHost
                };
                Some((name.clone(), clock))
            }
            _ => None,
        }
    }
}

impl Reading {
    /// What it is now; `shift_ns` is added to the clock that only goes forward.
    pub fn now(&self, shift_ns: i64) -> Value {
        match self {
            Self::TimeNs => {
                let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
                json!(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
            }
            Self::MonotonicNs => json!(monotonic_ns() + shift_ns),
            Self::Random => json!(random()),
        }
    }
}

/// The clock that only goes forward, as Python's `time.monotonic_ns`.
pub(super) fn monotonic_ns() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// Sixteen random bytes, in hexadecimal digits.
fn random() -> String {
    let mut bytes = [0; 16];
    // Without a source of them the clock has to do.
    if File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .is_err()
    {
        bytes[..8].copy_from_slice(&monotonic_ns().to_le_bytes());
    }
    format!("{:032x}", u128::from_be_bytes(bytes))
}
