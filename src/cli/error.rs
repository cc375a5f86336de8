//! The one place where errors become messages and exit codes.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use thiserror::Error;

use crate::event::Verdict;
use crate::guest;
use crate::nix_cli::{BuildError, EvalError, LibraryError};
use crate::report::{Colours, OutputError, sanitise, word};
use crate::session::SessionError;

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
    Eval(#[from] EvalError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Guest(#[from] guest::Error),
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The run came to its end, and what it has written is not whole.
    #[error("{source}; the test itself: {}", word(*.verdict))]
    OutputLost {
        source: OutputError,
        verdict: Verdict,
    },
    /// What was tried, and why the host refused it.
    #[error("{tried}: {source}")]
    Host { tried: String, source: io::Error },
}

impl Failed {
    /// For `map_err`: the host has refused what was `tried`, such as "cannot
    /// start a thread".
    pub fn host(tried: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let tried = tried.into();
        move |source| Self::Host { tried, source }
    }

    /// The same for something at a path.
    pub fn host_at(tried: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::host(format!("{tried} {}", path.display()))
    }

    fn code(&self) -> u8 {
        match self {
            Self::Eval(EvalError::NoNix(_))
            | Self::Build(BuildError::NoNix(_))
            | Self::Guest(_)
            | Self::Library(_)
            | Self::Host { .. }
            | Self::OutputLost { .. }
            | Self::Session(_) => code::HOST_FAILED,
            Self::Output(error) if error.is_of_the_host() => code::HOST_FAILED,
            Self::Usage(_) | Self::Eval(_) | Self::Output(_) => code::WRONG_USAGE,
            Self::Build(_) => code::BUILD_FAILED,
        }
    }
}

/// Prints the message to standard error; returns the exit code.
pub fn report(failed: &Failed) -> ExitCode {
    eprintln!(
        "{} {}",
        console::style("error:").for_stderr().red().bold(),
        sanitise(&failed.to_string(), Colours::of_stderr())
    );
    ExitCode::from(failed.code())
}
