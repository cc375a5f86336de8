//! The test language: Python, run by RustPython, over the machines of a test.

mod engine;
mod failure;
mod host;
mod interrupt;
mod values;

pub use engine::{Ended, Engine, Script};
pub use failure::SyntaxProblem;
pub use host::{Folders, Host};
pub use interrupt::Interrupter;

/// Checks the syntax of a script; needs no interpreter.
///
/// # Errors
/// The first problem.
pub fn check_syntax(source: &str) -> Result<(), SyntaxProblem> {
    failure::check_syntax(source)
}
