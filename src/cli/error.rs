//! The one place where errors become messages and exit codes.

use std::io;
use std::process::ExitCode;

use thiserror::Error;

use crate::guest;
use crate::nix::{BuildError, EvalError, LibraryError};
use crate::report::OutputError;
use crate::session::SessionError;

/// The exit codes, as documented in the manual.
pub mod code {
    pub const PASSED: u8 = 0;
    pub const TEST_FAILED: u8 = 1;
    pub const WRONG_USAGE: u8 = 2;
    pub const BUILD_FAILED: u8 = 3;
    pub const MACHINERY_FAILED: u8 = 4;
    pub const INTERRUPTED: u8 = 130;
}

/// Everything that ends a command early.
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
    #[error("the machine's resources do not suffice: {0}")]
    Machinery(#[from] io::Error),
}

impl Failed {
    fn code(&self) -> u8 {
        match self {
            Self::Eval(EvalError::NoNix(_))
            | Self::Build(BuildError::NoNix(_))
            | Self::Guest(_)
            | Self::Library(_)
            | Self::Machinery(_)
            | Self::Session(_) => code::MACHINERY_FAILED,
            Self::Usage(_) | Self::Eval(_) | Self::Output(_) => code::WRONG_USAGE,
            Self::Build(_) => code::BUILD_FAILED,
        }
    }
}

/// Prints the message to standard error; gives the exit code.
pub fn report(failed: &Failed) -> ExitCode {
    eprintln!(
        "{} {failed}",
        console::style("error:").for_stderr().red().bold()
    );
    ExitCode::from(failed.code())
}
