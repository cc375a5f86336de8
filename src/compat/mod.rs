//! The test driver of nixpkgs: its command lines, variables and configurations, as a test that is built.
//!
//! Three generations: 20.09 (start scripts as arguments, the script in `testScript`), 21.05 to 25.11 (options,
//! each with a variable that stands in for it) and 26.05 (`--config`); and a manifest that is built.

mod command_line;
mod configuration;
mod environment;
mod error;
mod manifest_file;
mod nspawn_script;
mod time_limit;

pub use command_line::{DriverArguments, DriverRun};
pub use error::CompatError;
