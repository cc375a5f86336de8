//! A call of a script, as data.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::call_error::CallError;
use super::driver_operation::DriverOperation;
use crate::machine::{Operation, RecordPolicy};

/// How much of a wrong argument is shown.
const SHOWN_CHARACTERS: usize = 200;

/// A call of the script.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    Driver(DriverOperation),
    Machine {
        /// The name of the node, or of the machine.
        machine: String,
        operation: Operation,
    },
}

impl Call {
    /// Reads a call of the test API: of a machine, or of the driver if `target` is empty.
    ///
    /// # Errors
    /// For arguments of another type, and for text that no command can hold.
    pub fn parse(target: &str, arguments: Value) -> Result<Self, CallError> {
        if target.is_empty() {
            return Ok(Self::Driver(parse(arguments)?));
        }
        let with_nul = text_with_nul(&arguments).map(shortened);
        let operation: Operation = parse(arguments)?;
        match with_nul {
            Some(text) if !operation.is_typed() => Err(CallError::machine(format!(
                "an argument holds a NUL byte, which no command or path can have: {text:?}"
            ))),
            _ => Ok(Self::Machine {
                machine: target.to_owned(),
                operation,
            }),
        }
    }

    /// The machine; None for the driver.
    #[must_use]
    pub fn machine(&self) -> Option<&str> {
        match self {
            Self::Driver(_) => None,
            Self::Machine { machine, .. } => Some(machine),
        }
    }

    /// The name of the operation, as the test API calls it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Driver(operation) => operation.name(),
            Self::Machine { operation, .. } => operation.name(),
        }
    }

    #[must_use]
    pub fn record_policy(&self) -> RecordPolicy {
        match self {
            Self::Driver(operation) => operation.record_policy(),
            Self::Machine { operation, .. } => operation.record_policy(),
        }
    }

    /// Stands for the files of the host that it takes, as they are now.
    #[must_use]
    pub fn fingerprint(&self) -> Option<String> {
        match self {
            Self::Driver(_) => None,
            Self::Machine { operation, .. } => operation.fingerprint(),
        }
    }
}

/// As a script writes it, without arguments.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.machine() {
            Some(machine) => write!(f, "{machine}.{}", self.name()),
            None => f.write_str(self.name()),
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(SHOWN_CHARACTERS).collect()
}

/// A string with a NUL byte in the arguments of a call.
fn text_with_nul(arguments: &Value) -> Option<&str> {
    match arguments {
        Value::String(text) => text.contains('\0').then_some(text),
        Value::Array(items) => items.iter().find_map(text_with_nul),
        Value::Object(entries) => entries.values().find_map(text_with_nul),
        _ => None,
    }
}

fn parse<T: for<'a> Deserialize<'a>>(call: Value) -> Result<T, CallError> {
    serde_json::from_value(call)
        .map_err(|error| CallError::machine(format!("an argument is of the wrong kind: {error}")))
}
