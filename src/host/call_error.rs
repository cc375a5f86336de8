//! Why a call failed, as the script sees it.

use crate::machine::MachineError;
use crate::model::event::Details;

/// Why a call failed, as the script sees it.
#[derive(Debug)]
pub struct CallError {
    /// The class of the exception in the test API.
    pub class: &'static str,
    pub message: String,
    pub details: Option<Box<Details>>,
}

impl CallError {
    /// For work that has panicked or was cancelled.
    #[must_use]
    pub fn broken(error: &tokio::task::JoinError) -> Self {
        Self::machine(format!("this is a fault in snowglobe: {error}"))
    }

    /// For something that a machine, or the machines of a test, cannot do.
    #[must_use]
    pub fn machine(message: String) -> Self {
        Self {
            class: "MachineError",
            message,
            details: None,
        }
    }

    /// For a condition of the script that does not hold.
    #[must_use]
    pub fn assertion(message: String) -> Self {
        Self {
            class: "RequestedAssertionFailed",
            ..Self::machine(message)
        }
    }

    /// For an argument of the right type that makes no sense.
    #[must_use]
    pub fn value(message: String) -> Self {
        Self {
            class: "ValueError",
            ..Self::machine(message)
        }
    }
}

impl From<MachineError> for CallError {
    fn from(error: MachineError) -> Self {
        let class = match error {
            MachineError::Assertion { .. } | MachineError::Timeout(_) => "RequestedAssertionFailed",
            MachineError::Failed { .. } => "MachineFailure",
            _ => "MachineError",
        };
        Self {
            class,
            message: error.to_string(),
            details: None,
        }
    }
}
