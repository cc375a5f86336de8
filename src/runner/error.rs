//! Why tests could not be run.

use std::io;
use std::path::Path;

use thiserror::Error;

use crate::backend::{Unfit, UnfitCause};
use crate::guest;
use crate::model::event::Verdict;
use crate::model::outcome::Obstacle;
use crate::nix_cli::{BuildError, EvalError};
use crate::report::{OutputError, word};
use crate::session::SessionError;

/// Why a run ends without a verdict, or without its files.
#[derive(Debug, Error)]
pub enum RunnerError {
    #[error("the script of {test} cannot run as it is: {findings}")]
    Findings {
        test: String,
        /// How many there are of each kind.
        findings: String,
        /// Each with its lines.
        shown: String,
    },
    #[error("there is no subtest {name:?}; there are: {known}")]
    NoSubtest { name: String, known: String },
    #[error(
        "no statement of the script is at {place}{}",
        nearest.map_or_else(String::new, |nearest| format!("; the nearest one is on line {nearest}"))
    )]
    NoStatement {
        place: String,
        /// `None` if nothing of the script comes from there.
        nearest: Option<usize>,
    },
    #[error("there are {count} tests, and one is needed: {choice} ({names})")]
    SeveralTests {
        count: usize,
        names: String,
        /// The way to choose one.
        choice: &'static str,
    },
    #[error("none of the {count} tests fits: `snowglobe list` shows them")]
    NoTestFits { count: usize },
    #[error(
        "none of the {count} tests failed or was left out last time: without `--rerun`, all of them run"
    )]
    NothingToRerun { count: usize },
    #[error("{problem}: the test {test} has {names}")]
    Node {
        problem: String,
        test: String,
        names: String,
    },
    /// There is not one machine of a test that runs which the user can mean.
    #[error("{0}")]
    Running(String),
    #[error(transparent)]
    Eval(#[from] EvalError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Guest(#[from] guest::Error),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Session(#[from] SessionError),
    /// As above, in the process of the test.
    #[error("{0}")]
    NotBegun(String),
    /// The run came to its end, and what it has written is not whole.
    #[error("{source}; the test itself: {}", word(*.verdict))]
    OutputLost {
        source: OutputError,
        verdict: Verdict,
    },
    #[error(
        "the test needs {needs_mib} MiB of memory, and `--memory` grants {budget_mib} MiB: grant more, or run fewer machines"
    )]
    Memory { needs_mib: u64, budget_mib: u64 },
    /// The error of one of several tests.
    #[error("{test}: {source}")]
    OfTest {
        test: String,
        source: Box<RunnerError>,
    },
    /// An action that the host refused, and its reason.
    #[error("{tried}: {source}")]
    Host { tried: String, source: io::Error },
}

impl RunnerError {
    /// For `map_err`: the host has refused what was `tried`, such as "cannot
    /// start a thread".
    pub fn host(tried: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let tried = tried.into();
        move |source| Self::Host { tried, source }
    }

    /// Whether other tests may do better.
    pub(super) fn is_of_one_test(&self) -> bool {
        match self {
            Self::Eval(error) => !error.is_of_the_host(),
            Self::Build(error) => !matches!(error, BuildError::NoNix(_)),
            Self::Guest(error) => matches!(error, guest::Error::NotFetched(_)),
            Self::Findings { .. }
            | Self::Output(_)
            | Self::OutputLost { .. }
            | Self::Session(_)
            | Self::NotBegun(_)
            | Self::Memory { .. } => true,
            _ => false,
        }
    }

    /// The text for reports: that of findings holds the lines that they are about.
    pub(super) fn report(&self) -> String {
        match self {
            Self::Findings { shown, .. } => format!("{self}\n\n{shown}"),
            other => other.to_string(),
        }
    }

    /// Returns the part that keeps a test with this error from running.
    #[must_use]
    pub fn obstacle(&self) -> Obstacle {
        match self {
            Self::OfTest { source, .. } => source.obstacle(),
            Self::Eval(error) if error.is_of_the_host() => Obstacle::Host,
            Self::Output(error) if error.is_of_the_host() => Obstacle::Host,
            Self::Session(
                SessionError::Python(_)
                | SessionError::Disks { .. }
                | SessionError::Unfit(Unfit {
                    cause: UnfitCause::Test,
                    ..
                }),
            ) => Obstacle::Test,
            Self::Guest(_)
            | Self::Host { .. }
            | Self::OutputLost { .. }
            | Self::Session(_)
            | Self::NotBegun(_)
            | Self::Build(BuildError::NoNix(_)) => Obstacle::Host,
            Self::Build(_) => Obstacle::Build,
            _ => Obstacle::Test,
        }
    }

    /// The error with its test's name, if it does not have it.
    pub(super) fn of_test(self, test: &str) -> Self {
        match self {
            named @ (Self::OfTest { .. } | Self::Findings { .. } | Self::Eval(_)) => named,
            source => Self::OfTest {
                test: test.to_owned(),
                source: Box::new(source),
            },
        }
    }

    /// Returns a function for `map_err`, for a file or folder at `path`.
    pub fn host_at(tried: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::host(format!("{tried} {}", path.display()))
    }
}
