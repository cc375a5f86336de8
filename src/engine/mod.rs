//! The test language: Python, run by RustPython, whose calls go to a replay or the host.

mod assertion_report;
mod assertions;
mod call_report;
mod cancellation;
mod compile;
mod describe;
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
mod raised;
mod selection;
mod sources;
mod state;
mod terminal;
mod values;

pub use describe::describe;
pub use exceptions::is_api_exception;
pub use input::{PythonPackages, Script};
pub use interpreter::{Ended, Engine};
pub use interrupt::Interrupter;
pub use mode::{Interaction, RunMode};
pub use packages::python_packages;
pub use state::EngineState;
pub use terminal::restore_terminal;
pub use values::to_json;
