//! Errors of an output folder.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::full_disk::is_full_disk;

/// Why there is no output folder, or not a whole one.
#[derive(Debug, Error)]
pub enum OutputError {
    #[error("the output folder {path} cannot be written: {source}; choose another with -o")]
    Unwritable { path: PathBuf, source: io::Error },
    #[error(
        "the output folder {folder} holds {foreign}, which Snowglobe has not listed as its own (a killed run does not list files that its script wrote itself): choose another folder with -o, or move the file away"
    )]
    Foreign { folder: PathBuf, foreign: PathBuf },
    #[error(
        "the output folder {folder} is in use by {user}: wait for its end, or choose another with -o"
    )]
    Busy { folder: PathBuf, user: String },
    #[error("the output is incomplete: {path} cannot be written: {reason}")]
    Incomplete { path: PathBuf, reason: String },
}

impl OutputError {
    /// Whether the host is at fault, and not the choice of the folder.
    #[must_use]
    pub fn is_of_the_host(&self) -> bool {
        match self {
            Self::Incomplete { .. } => true,
            Self::Unwritable { source, .. } => is_full_disk(source),
            Self::Foreign { .. } | Self::Busy { .. } => false,
        }
    }
}
