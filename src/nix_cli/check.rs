//! Tests as derivations: which they are, and what their builds have said.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::eval::{Answer, instantiate};
use super::evaluation::Want;
use super::{BuildError, EvalError, Evaluation, Library, Nix};

/// How a derivation that runs a test is made.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// The store path of this program; None where the index of the guests has it.
    pub program: Option<PathBuf>,
    /// Whether it may run without KVM.
    pub allow_emulation: bool,
}

/// A derivation that runs a test as its build.
#[derive(Debug, Clone, Deserialize)]
pub struct Check {
    pub attribute: String,
    pub name: String,
    pub derivation: PathBuf,
}

impl Answer for Check {
    fn derivation(&self) -> Option<&Path> {
        Some(&self.derivation)
    }
}

/// The derivations that run a file's tests.
///
/// # Errors
/// As for [`super::evaluate`].
pub async fn checks(
    nix: &Nix,
    library: &Library,
    evaluation: &Evaluation,
    options: &CheckOptions,
) -> Result<Vec<Check>, EvalError> {
    instantiate(nix, library, evaluation, Want::Check(options)).await
}

/// What the last build of a derivation has said; nothing where it had none.
///
/// # Errors
/// When Nix cannot be started.
pub fn build_log(nix: &Nix, derivation: &Path) -> Result<String, BuildError> {
    let output = nix
        .command("nix-store")
        .arg("--read-log")
        .arg(derivation)
        .output()
        .map_err(BuildError::NoNix)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
