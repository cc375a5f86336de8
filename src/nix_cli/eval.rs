//! Evaluates a test file: which tests it holds, and the manifest of each.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::eval_error::EvalError;
use super::evaluation::{Evaluation, Want};
use super::instantiate::{Answer, instantiate};
use super::{Library, Nix};
use crate::model::manifest::{self, Manifest};
use crate::source_map::SourceMap;

/// A test of the file, evaluated.
#[derive(Debug, Clone, Deserialize)]
pub struct Test {
    /// The attribute path within the file; empty where the file is the test.
    pub attribute: String,
    pub name: String,
    pub nodes: Vec<String>,
    /// `passthru.tags`
    pub tags: Vec<String>,
    pub manifest: Manifest,
    /// The script's text.
    pub script: String,
    /// The derivation that builds all of it.
    pub derivation: PathBuf,
    /// Notes for the user on how the test is run.
    #[serde(skip)]
    pub notes: Vec<String>,
    /// The nodes for which Snowglobe has chosen a container.
    #[serde(skip)]
    pub chosen_containers: Vec<String>,
}

impl Test {
    /// Returns the name of the test if its file may hold others.
    #[must_use]
    pub fn label(&self) -> &str {
        label_of(&self.attribute, &self.name)
    }

    /// Returns the names of the test.
    #[must_use]
    pub fn names(&self) -> TestNames {
        TestNames {
            attribute: self.attribute.clone(),
            name: self.name.clone(),
            nodes: self.nodes.clone(),
            containers: self.manifest.containers.keys().cloned().collect(),
            tags: self.tags.clone(),
        }
    }

    /// Its script, with the place in the user's files that it comes from.
    #[must_use]
    pub fn source_map(&self) -> SourceMap {
        let file = &self.manifest.test_script_source.file;
        SourceMap::of_test(self.script.clone(), file, &self.attribute)
    }
}

/// Returns the name of a test if its file may hold others: its path there, if it has one.
pub(super) fn label_of<'a>(attribute: &'a str, name: &'a str) -> &'a str {
    if attribute.is_empty() {
        name
    } else {
        attribute
    }
}

/// A test of the file, by name only.
#[derive(Debug, Clone, Default, Deserialize, serde::Serialize)]
pub struct TestNames {
    pub attribute: String,
    /// Empty for what does not evaluate so far.
    pub name: String,
    pub nodes: Vec<String>,
    pub containers: Vec<String>,
    /// `passthru.tags`
    pub tags: Vec<String>,
}

impl TestNames {
    /// Returns the names of a test of which only the attribute path is known.
    #[must_use]
    pub fn of_attribute(attribute: &str) -> Self {
        Self {
            attribute: attribute.to_owned(),
            ..Self::default()
        }
    }
}

/// All tests of the file with their manifests.
///
/// # Errors
/// Returns an error if the file is missing, wrong, or not a test.
pub async fn evaluate(
    nix: &Nix,
    library: &Library,
    evaluation: &Evaluation,
) -> Result<Vec<Test>, EvalError> {
    let tests: Vec<Test> = instantiate(nix, library, evaluation, Want::Manifest).await?;
    for test in &tests {
        let found = test.manifest.version;
        if found != manifest::VERSION {
            return Err(EvalError::ManifestVersion {
                name: test.name.clone(),
                found,
            });
        }
    }
    Ok(tests)
}

impl TestNames {
    /// Returns the name of the test if its file may hold others.
    #[must_use]
    pub fn label(&self) -> &str {
        label_of(&self.attribute, &self.name)
    }
}

/// The tests of the file and their nodes; no machine is evaluated.
///
/// # Errors
/// As for [`evaluate`].
pub async fn list(
    nix: &Nix,
    library: &Library,
    evaluation: &Evaluation,
) -> Result<Vec<TestNames>, EvalError> {
    instantiate(nix, library, evaluation, Want::Names).await
}

impl Answer for Test {
    fn derivation(&self) -> Option<&Path> {
        Some(&self.derivation)
    }
}

impl Answer for TestNames {
    fn derivation(&self) -> Option<&Path> {
        None
    }
}
