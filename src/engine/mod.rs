//! The test language: Python, run by RustPython, whose calls go to a replay or the host.

mod assertion_report;
mod assertions;
mod call_report;
mod cancellation;
mod compile;
mod difference;
mod exceptions;
mod failure;
mod imports;
mod input;
mod interaction;
mod interpreter;
mod interrupt;
mod mode;
mod native;
mod packages;
mod selection;
mod short_repr;
mod sources;
mod state;
mod terminal;
mod values;

pub use exceptions::is_api_exception;
pub use failure::describe;
pub use input::{PythonPackages, Script};
pub use interpreter::{Ended, Engine};
pub use interrupt::Interrupter;
pub use mode::{Interaction, RunMode};
pub use packages::python_packages;
pub use state::EngineState;
pub use terminal::restore_terminal;
pub use values::to_json;
