//! The derivations of a file: those that run its tests, those that build them, and what builds have said.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::eval::label_of;
use super::evaluation::Want;
use super::instantiate::{Answer, instantiate};
use super::{BuildError, EvalError, Evaluation, Library, Nix};

/// How a derivation that runs a test is made.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// The store path of this program; None where the index of the guests has it.
    pub program: Option<PathBuf>,
    /// Whether it may run without KVM.
    pub allow_emulation: bool,
}

/// A derivation that a file holds or that is made of its tests.
#[derive(Debug, Clone, Deserialize)]
pub struct NamedDerivation {
    /// The attribute path within the file.
    pub attribute: String,
    pub name: String,
    pub derivation: PathBuf,
}

impl NamedDerivation {
    /// Returns the name of the test if its file may hold others.
    #[must_use]
    pub fn label(&self) -> &str {
        label_of(&self.attribute, &self.name)
    }
}

impl Answer for NamedDerivation {
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
) -> Result<Vec<NamedDerivation>, EvalError> {
    instantiate(nix, library, evaluation, Want::Check(options)).await
}

/// Returns the derivations that build the machines of a file's tests, or the derivation at the attribute path if it is
/// no test.
///
/// # Errors
/// As for [`super::evaluate`].
pub async fn buildable(
    nix: &Nix,
    library: &Library,
    evaluation: &Evaluation,
) -> Result<Vec<NamedDerivation>, EvalError> {
    instantiate(nix, library, evaluation, Want::Build).await
}

/// Whether all outputs of a derivation are in the store.
///
/// # Errors
/// Returns an error if Nix cannot be started.
pub fn is_built(nix: &Nix, derivation: &Path) -> Result<bool, BuildError> {
    let mut query = nix.command("nix-store");
    query.args(["--query", "--outputs"]).arg(derivation);
    let outputs = query.output().map_err(BuildError::NoNix)?;
    let outputs = String::from_utf8_lossy(&outputs.stdout).into_owned();
    let mut check = nix.command("nix-store");
    check.arg("--check-validity").args(outputs.lines());
    let checked = check.output().map_err(BuildError::NoNix)?;
    Ok(!outputs.is_empty() && checked.status.success())
}

/// The derivations that one needs, itself among them.
///
/// # Errors
/// Returns an error if Nix cannot be started.
pub fn needed_by(nix: &Nix, derivation: &Path) -> Result<HashSet<String>, BuildError> {
    let mut query = nix.command("nix-store");
    query.args(["--query", "--requisites"]).arg(derivation);
    let paths = query.output().map_err(BuildError::NoNix)?;
    let paths = String::from_utf8_lossy(&paths.stdout);
    Ok(paths.lines().map(str::to_owned).collect())
}

/// Returns the log of the last build of a derivation; an empty text if there is none.
///
/// # Errors
/// Returns an error if Nix cannot be started.
pub fn build_log(nix: &Nix, derivation: &Path) -> Result<String, BuildError> {
    let output = nix
        .command("nix-store")
        .arg("--read-log")
        .arg(derivation)
        .output()
        .map_err(BuildError::NoNix)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
