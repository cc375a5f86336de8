//! Errors of evaluations.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::model::manifest;

/// Why a file does not evaluate.
#[derive(Debug, Error)]
pub enum EvalError {
    #[error("there is no file {0}")]
    NoFile(PathBuf),
    #[error("{0} has a flake.nix, and no default.nix: `{0}#` means the checks of the flake")]
    OnlyFlake(PathBuf),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("`{program}` cannot be started: {source}; install Nix (Debian's package is nix-bin)")]
    NoNix { program: String, source: io::Error },
    #[error("cannot write a file for Nix to the cache or a temporary folder: {0}")]
    Temporary(io::Error),
    #[error("Nix's answer on the flake cannot be read: {0}; `nix flake metadata --json` prints it")]
    BadMetadata(serde_json::Error),
    #[error(
        "this Nix does not put the sources of {0} into the store, so that its inputs cannot be others: \
         leave `--override-input` and the like out"
    )]
    NoFlakeSource(String),
    #[error("{0}")]
    Nix(String),
    #[error(
        "the evaluation was ended by signal {0}: it has used up the machine's memory, or its stack by recursing without end"
    )]
    Killed(i32),
    #[error("the evaluation has ended {0}")]
    EndedByHost(String),
    #[error("`--attr {0}` is no attribute path: a quotation mark is not closed")]
    BadAttribute(String),
    #[error(
        "Nix gave a manifest that cannot be read: {0}; its version is not that of this program"
    )]
    BadManifest(serde_json::Error),
    #[error(
        "the manifest of `{name}` is of version {found}, and this program reads version {}",
        manifest::VERSION
    )]
    ManifestVersion { name: String, found: u32 },
}

impl EvalError {
    /// Whether the file has no part in it.
    #[must_use]
    pub fn is_of_the_host(&self) -> bool {
        matches!(
            self,
            Self::NoNix { .. } | Self::Temporary(_) | Self::EndedByHost(_)
        )
    }
}
