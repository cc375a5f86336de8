//! Why a container could not be started.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

#[derive(Debug, Error)]
pub enum ContainerError {
    #[error("{what}: {source}")]
    Step { what: String, source: io::Error },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{program} has failed: {message}")]
    Program { program: String, message: String },
    #[error("the process that holds the containers' namespace says: {0}")]
    Keeper(String),
    #[error("the process that holds the containers' namespace has ended {0}")]
    KeeperEnded(String),
    #[error("its init has ended ({0})")]
    Init(String),
    #[error(
        "no range of user IDs for containers: `{file}` has no line for {user} with 65536 IDs (as root: `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}`)"
    )]
    NoRange { file: PathBuf, user: String },
    #[error(
        "no range of user IDs for containers: this process has fewer than 65536 (a Nix build needs `requiredSystemFeatures = [ \"uid-range\" ]`, and of its host `auto-allocate-uids = true`)"
    )]
    FewIds,
}

/// Says at which step a call of the system has failed.
pub(super) trait AtStep<T> {
    /// # Errors
    /// The call's own, with the step.
    fn at_step(self, what: impl Into<String>) -> Result<T, ContainerError>;
}

impl<T, E: Into<io::Error>> AtStep<T> for Result<T, E> {
    fn at_step(self, what: impl Into<String>) -> Result<T, ContainerError> {
        self.map_err(|source| ContainerError::Step {
            what: what.into(),
            source: source.into(),
        })
    }
}
