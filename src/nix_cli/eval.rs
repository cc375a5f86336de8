//! Evaluates a test file: which tests it holds, and the manifest of each.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::process::Command;

use super::cache::{Cache, Question, Said};
use super::entry_command::{entry_command, test_file};
use super::evaluation::{EvalError, Evaluation, Nixpkgs, TestSource, Want};
use super::message::{describe_error, evaluated_file, split_warnings};
use super::moment::Moment;
use super::sources::FetchedNixpkgs;
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
    /// What the user should know of how it is run.
    #[serde(skip)]
    pub notes: Vec<String>,
}

impl Test {
    /// What to call it where its file may hold others.
    #[must_use]
    pub fn label(&self) -> &str {
        label_of(&self.attribute, &self.name)
    }

    /// What is known of it by name only.
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

/// What to call it where its file may hold others: its path there, if it has one.
pub(super) fn label_of<'a>(attribute: &'a str, name: &'a str) -> &'a str {
    if attribute.is_empty() {
        name
    } else {
        attribute
    }
}

/// A test of the file, by name only.
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
pub struct TestNames {
    pub attribute: String,
    pub name: String,
    pub nodes: Vec<String>,
    pub containers: Vec<String>,
    /// `passthru.tags`
    pub tags: Vec<String>,
}

/// All tests of the file with their manifests.
///
/// # Errors
/// When the file is missing, wrong, or not a test.
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
    /// What to call it where its file may hold others.
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

/// What the library's entry gives for each test.
pub(super) trait Answer: DeserializeOwned {
    /// What the evaluation has put into the store for it.
    fn derivation(&self) -> Option<&Path>;
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

/// What the library's entry gives for an evaluation: from the cache, where
/// what is remembered is still in the store.
pub(super) async fn instantiate<T: Answer>(
    nix: &Nix,
    library: &Library,
    evaluation: &Evaluation,
    want: Want<'_>,
) -> Result<Vec<T>, EvalError> {
    let command = entry_command(nix, library, evaluation, want)?;
    let cache = library.evaluations().map(|folder| Cache {
        folder,
        own: library.folder(),
        fetched: if evaluation.nixpkgs == Nixpkgs::Builtin {
            FetchedNixpkgs::Replaced
        } else {
            FetchedNixpkgs::Used
        },
    });
    // What can be remembered, and where.
    let question = cache.zip(question(&command, evaluation));
    let remembered = question
        .as_ref()
        .and_then(|(cache, question)| cache.recall(question))
        .and_then(|said| Some((serde_json::from_str::<Vec<T>>(&said.answer).ok()?, said)));
    // Nix's garbage collector may have been there.
    if let Some((items, said)) = remembered
        && items.iter().filter_map(T::derivation).all(Path::exists)
    {
        nix.warn(&said.warnings);
        return Ok(items);
    }
    let begin = Moment::now();
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    let output = command.output().await.map_err(EvalError::NoNix)?;
    let (warnings, message) = split_warnings(&String::from_utf8_lossy(&output.stderr));
    nix.warn(&warnings);
    if output.status.success() {
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        let items = serde_json::from_str(&answer).map_err(EvalError::BadManifest)?;
        if let Some((cache, question)) = question {
            let mut read: Vec<PathBuf> = message.lines().filter_map(evaluated_file).collect();
            if let TestSource::File(file) = &evaluation.place {
                // Nix tells where a link leads to, and not of the link.
                read.push(test_file(file)?);
            }
            let said = Said { answer, warnings };
            cache.remember(&question, &read, begin, said);
        }
        return Ok(items);
    }
    if let Some(signal) = output.status.signal() {
        return Err(EvalError::Killed(signal));
    }
    let mut message = describe_error(&message, library.folder());
    if evaluation.nixpkgs == Nixpkgs::Builtin && is_missing_attribute(&message) {
        message.push_str(PACKAGE_HINT);
    }
    Err(EvalError::Nix(message))
}

/// What can be remembered; None where the answer may be another each time.
fn question(command: &std::process::Command, evaluation: &Evaluation) -> Option<Question> {
    // Nix keeps what it has fetched of flakes, and knows when it is old.
    if matches!(evaluation.place, TestSource::Flake(_)) || evaluation.arguments.show_trace {
        return None;
    }
    // Expressions may read anything.
    let is_plain = |text: &str| {
        !text.contains(['/', '<', '(', '.']) && !text.contains("builtins") && !text.contains("__")
    };
    let expressions = &evaluation.arguments.expressions;
    if !expressions.iter().all(|(_, text)| is_plain(text)) {
        return None;
    }
    let mut arguments: Vec<String> = command
        .get_args()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let includes: Vec<String> = arguments
        .windows(2)
        .filter(|pair| pair[0] == "-I")
        .map(|pair| pair[1].clone())
        .collect();
    // A relative `-I` means another folder elsewhere.
    arguments.push(std::env::current_dir().ok()?.display().to_string());
    Question::new(arguments, &includes)
}

/// What may help where the built-in package set was asked for what it has not.
const PACKAGE_HINT: &str = "\n\nIf this is a package that Debian has: `snowglobe guest fetch NAME` \
    adds it to the built-in ones, under Debian's name.";

fn is_missing_attribute(message: &str) -> bool {
    message
        .lines()
        .next()
        .is_some_and(|line| line.contains("attribute '") && line.ends_with("missing"))
}
