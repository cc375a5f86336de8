//! Why a command line or configuration of nixpkgs' driver cannot be used.

use std::path::PathBuf;

use thiserror::Error;

use crate::input_file::InputFileError;
use crate::model::manifest;

/// Wrong usage of the driver.
#[derive(Debug, Error)]
pub enum CompatError {
    #[error(transparent)]
    File(#[from] InputFileError),
    #[error(
        "the manifest {path} is of version {found}, and this program reads version {}: evaluate the test anew",
        manifest::VERSION
    )]
    ManifestVersion { path: PathBuf, found: u64 },
    #[error("the container's start script {path} cannot be run: {reason}")]
    NspawnScript { path: PathBuf, reason: String },
    #[error("there are {names} names of machines for {scripts} start scripts")]
    MachineNames { names: usize, scripts: usize },
    #[error("there are {count} containers: their networks have addresses for 255")]
    ManyContainers { count: usize },
    #[error("there can be one script only: {0} were given")]
    SeveralScripts(String),
    #[error("there is no script: give one, or set testScript or --config")]
    NoScript,
    #[error("the variable {variable} holds no number: {text:?}")]
    NoNumber { variable: String, text: String },
    #[error("cannot find the current folder: {0}")]
    NoFolder(std::io::Error),
}
