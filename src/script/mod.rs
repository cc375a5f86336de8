//! The test language: Python, run by RustPython, over the machines of a test.

mod cancellation;
mod engine;
mod exceptions;
mod failure;
mod host;
mod input;
mod interrupt;
mod long_output;
mod native;
mod packages;
mod prompt;
mod replay;
mod replay_calls;
mod request;
mod selection;
mod sources;
mod subtests;
mod values;

pub use engine::{Ended, Engine};
pub use host::{Folders, Host, MachineFactory, Subtests};
pub use input::{PythonPackages, RunMode, Script};
pub use interrupt::Interrupter;
pub use packages::python_packages;
pub use prompt::restore_terminal;
pub use replay::{Replay, Restart};
pub use subtests::AfterFailure;
