//! The one place where errors become messages and exit codes.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use thiserror::Error;

use crate::compat::CompatError;
use crate::config::ConfigError;
use crate::guest;
use crate::input_file::InputFileError;
use crate::model::event::Verdict;
use crate::model::outcome::{Obstacle, Outcome, RunResults};
use crate::nix_cli::{EvalError, LibraryError};
use crate::raw_terminal::for_terminal;
use crate::report::{Colours, MergeError, sanitise};
use crate::runner::RunnerError;

/// The exit codes, as documented in the manual.
pub mod code {
    pub const PASSED: u8 = 0;
    pub const TEST_FAILED: u8 = 1;
    pub const WRONG_USAGE: u8 = 2;
    pub const BUILD_FAILED: u8 = 3;
    pub const HOST_FAILED: u8 = 4;
    pub const INTERRUPTED: u8 = 130;
}

/// Why a command ends early.
#[derive(Debug, Error)]
pub enum Failed {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    File(#[from] InputFileError),
    #[error(transparent)]
    Compat(#[from] CompatError),
    #[error(transparent)]
    Guest(#[from] guest::Error),
    #[error("{}", guest::describe_unknown(.0))]
    UnknownPackages(Vec<guest::UnknownPackage>),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Merge(#[from] MergeError),
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error(transparent)]
    Runner(#[from] RunnerError),
}

impl From<EvalError> for Failed {
    fn from(error: EvalError) -> Self {
        Self::Runner(error.into())
    }
}

impl Failed {
    /// For `map_err`: the host has refused what was `tried`, such as "cannot
    /// start a thread".
    pub fn host(tried: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let failed = RunnerError::host(tried);
        move |source| failed(source).into()
    }

    /// Returns a function for `map_err`, for a file or folder at `path`.
    pub fn host_at(tried: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let failed = RunnerError::host_at(tried, path);
        move |source| failed(source).into()
    }

    fn code(&self) -> u8 {
        match self {
            Self::Guest(guest::Error::BadSuite(_) | guest::Error::UnknownSystem { .. }) => {
                code::WRONG_USAGE
            }
            Self::Compat(CompatError::NoFolder(_)) | Self::Guest(_) | Self::Library(_) => {
                code::HOST_FAILED
            }
            Self::Usage(_)
            | Self::Config(_)
            | Self::Merge(_)
            | Self::File(_)
            | Self::Compat(_)
            | Self::UnknownPackages(_) => code::WRONG_USAGE,
            Self::Runner(error) => code_of_run(error),
        }
    }
}

fn code_of_run(error: &RunnerError) -> u8 {
    code_of_obstacle(error.obstacle())
}

fn code_of_obstacle(obstacle: Obstacle) -> u8 {
    match obstacle {
        Obstacle::Test => code::WRONG_USAGE,
        Obstacle::Build => code::BUILD_FAILED,
        Obstacle::Host => code::HOST_FAILED,
    }
}

/// Prints a line to standard error. A full one is no reason to end otherwise: the exit code says how it ended.
pub fn print_to_stderr(text: impl Display) {
    let text = format!("{text}\n");
    let _ = io::stderr().write_all(&for_terminal(text.as_bytes()));
}

/// Prints the message to standard error; returns the exit code.
pub fn report_failure(failed: &Failed) -> ExitCode {
    show_message(&failed.to_string());
    ExitCode::from(failed.code())
}

/// Prints the message of an error to standard error.
pub fn show_message(message: &str) {
    print_to_stderr(format_args!(
        "{} {}",
        console::style("error:").for_stderr().red().bold(),
        sanitise(message, Colours::of_stderr())
    ));
}

/// Prints what does not change the end of a command to standard error.
pub fn show_warning(text: &str) {
    print_to_stderr(format_args!(
        "{} {}",
        console::style("warning:").for_stderr().yellow().bold(),
        sanitise(text, Colours::of_stderr())
    ));
}

/// The exit code of a verdict.
pub fn exit_code(verdict: Verdict) -> ExitCode {
    ExitCode::from(code_of_outcome(Outcome::of_verdict(verdict)))
}

/// Returns the exit code of the worst error.
pub fn exit_code_of_errors(errors: &[RunnerError]) -> ExitCode {
    let codes = errors.iter().map(code_of_run);
    ExitCode::from(codes.max().unwrap_or(code::PASSED))
}

/// The exit code of a run: that of the worst end. What is in quarantine does not count.
pub fn exit_code_of_run(results: &RunResults) -> ExitCode {
    if results.interrupted {
        return ExitCode::from(code::INTERRUPTED);
    }
    let counted = results.tests.iter().filter(|test| test.counts_as_failure());
    let codes = counted.map(|test| match test.obstacle {
        Some(obstacle) => code_of_obstacle(obstacle),
        None => code_of_outcome(test.outcome),
    });
    let of_missing = (!results.missing.is_empty()).then_some(code::WRONG_USAGE);
    ExitCode::from(codes.chain(of_missing).max().unwrap_or(code::PASSED))
}

fn code_of_outcome(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Passed | Outcome::Flaky | Outcome::SessionClosed | Outcome::LeftOut => {
            code::PASSED
        }
        Outcome::Failed => code::TEST_FAILED,
        Outcome::NotRun => code::WRONG_USAGE,
        Outcome::Error => code::HOST_FAILED,
        Outcome::Interrupted => code::INTERRUPTED,
    }
}
