//! Evaluates a test file: which tests it holds, and the manifest of each.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::process::Command;

use super::CheckOptions;
use super::cache::{Cache, Question, Said};
use super::message::{describe_error, evaluated_file, split_warnings};
use super::moment::Moment;
use super::{Library, Nix};
use crate::manifest::{self, Manifest};
use crate::source_map::SourceMap;

/// What replaces nixpkgs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nixpkgs {
    /// What the file itself and `-I` say.
    FromFile,
    Builtin,
    Path(PathBuf),
}

/// The options of nix-build that the user gave.
#[derive(Debug, Clone, Default)]
pub struct Arguments {
    /// `--arg NAME EXPRESSION`
    pub expressions: Vec<(String, String)>,
    /// `--argstr NAME STRING`
    pub strings: Vec<(String, String)>,
    /// `-I`
    pub includes: Vec<String>,
    pub show_trace: bool,
}

/// Where tests are to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestSource {
    /// A file, or a folder with a default.nix.
    File(PathBuf),
    /// The reference of a flake.
    Flake(String),
}

/// For whom the tests are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    #[default]
    Script,
    /// With what a test sets for runs by hand.
    ByHand,
}

/// What is wanted of the machines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MachineVariant {
    #[default]
    AsTheyAre,
    /// Such that their state can be saved, where the test can be extended.
    SnapshotSafe,
}

/// One evaluation.
#[derive(Debug, Clone)]
pub struct Evaluation {
    pub place: TestSource,
    /// `-A`, or what follows the `#` of a flake, as the user wrote it.
    pub attribute: Option<String>,
    pub arguments: Arguments,
    pub form: Form,
    pub machines: MachineVariant,
    pub nixpkgs: Nixpkgs,
    /// The index of the built-in guests, if they are set up.
    pub guest_index: Option<PathBuf>,
}

/// A test of the file, evaluated.
#[derive(Debug, Clone, Deserialize)]
pub struct Test {
    /// The attribute path within the file; empty where the file is the test.
    pub attribute: String,
    pub name: String,
    pub nodes: Vec<String>,
    pub manifest: Manifest,
    /// The script's text.
    pub script: String,
    /// The derivation that builds all of it.
    pub derivation: PathBuf,
}

impl Test {
    /// What to call it where its file may hold others.
    #[must_use]
    pub fn label(&self) -> &str {
        if self.attribute.is_empty() {
            &self.name
        } else {
            &self.attribute
        }
    }

    /// Its script, with the place in the user's files that it comes from.
    #[must_use]
    pub fn source_map(&self) -> SourceMap {
        let file = &self.manifest.test_script_source.file;
        SourceMap::of_test(self.script.clone(), file, &self.attribute)
    }
}

/// A test of the file, by name only.
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
pub struct TestNames {
    pub attribute: String,
    pub name: String,
    pub nodes: Vec<String>,
    pub containers: Vec<String>,
}

/// Why a file does not evaluate.
#[derive(Debug, Error)]
pub enum EvalError {
    #[error("there is no file {0}")]
    NoFile(PathBuf),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("`nix-instantiate` cannot be started: {0}; install Nix (Debian's package is nix-bin)")]
    NoNix(io::Error),
    #[error("{0}")]
    Nix(String),
    #[error(
        "the evaluation was ended by signal {0}: it has used up the machine's memory, or its stack by recursing without end"
    )]
    Killed(i32),
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

/// What the library's entry is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Want<'a> {
    /// The tests' names and nodes; no machine is evaluated.
    Names,
    Manifest,
    /// The derivations that run the tests.
    Check(&'a CheckOptions),
}

impl Want<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Names => "names",
            Self::Manifest => "manifest",
            Self::Check(_) => "check",
        }
    }
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
    let command = command(nix, library, evaluation, want)?;
    let cache = library.evaluations().map(|folder| Cache {
        folder,
        own: library.folder(),
        stand_in: evaluation.nixpkgs == Nixpkgs::Builtin,
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

fn command(
    nix: &Nix,
    library: &Library,
    evaluation: &Evaluation,
    want: Want<'_>,
) -> Result<std::process::Command, EvalError> {
    let attribute = match &evaluation.attribute {
        Some(path) => split_attribute(path).ok_or_else(|| EvalError::BadAttribute(path.clone()))?,
        None => Vec::new(),
    };
    let mut command = nix.command("nix-instantiate");
    command
        // It tells which files it evaluates.
        .args(["--eval", "--strict", "--json", "--read-write-mode", "-v"])
        .arg(library.entry())
        .args(["--arg", "attribute", &nix_list(&attribute)])
        .args(["--arg", "arguments", &nix_arguments(&evaluation.arguments)])
        .args(["--argstr", "want", want.name()]);
    if evaluation.form == Form::ByHand {
        command.args(["--arg", "interactive", "true"]);
    }
    if evaluation.machines == MachineVariant::SnapshotSafe {
        command.args(["--arg", "snapshotSafe", "true"]);
    }
    if let Want::Check(options) = want {
        let allow = if options.allow_emulation {
            "true"
        } else {
            "false"
        };
        command.args(["--arg", "allowEmulation", allow]);
        if let Some(program) = &options.program {
            command.arg("--argstr").arg("program").arg(program);
        }
    }
    match &evaluation.place {
        TestSource::File(file) => {
            command.args(["--argstr", "file"]).arg(test_file(file)?);
        }
        TestSource::Flake(reference) => {
            command.args(["--extra-experimental-features", "flakes nix-command"]);
            command.args(["--argstr", "flake", reference, "--argstr", "file"]);
            command.arg(flake_file(reference));
        }
    }
    match &evaluation.nixpkgs {
        Nixpkgs::FromFile => {}
        Nixpkgs::Builtin => {
            command.args(["--argstr", "nixpkgs", "builtin", "-I"]);
            command.arg(format!("nixpkgs={}", library.builtin().display()));
        }
        Nixpkgs::Path(path) => {
            let path = std::path::absolute(path).map_err(|source| EvalError::File {
                path: path.clone(),
                source,
            })?;
            command.arg("--argstr").arg("nixpkgs").arg(&path);
            command.arg("-I").arg(format!("nixpkgs={}", path.display()));
        }
    }
    if evaluation.nixpkgs != Nixpkgs::Builtin
        && std::env::var_os(HEAP_VARIABLE).is_none()
        && let Some(bytes) = first_heap_bytes()
    {
        command.env(HEAP_VARIABLE, bytes.to_string());
    }
    if let Some(index) = &evaluation.guest_index {
        command.arg("-I");
        command.arg(format!("snowglobe-guest-index={}", index.display()));
    }
    for include in &evaluation.arguments.includes {
        command.args(["-I", include]);
    }
    if evaluation.arguments.show_trace {
        command.arg("--show-trace");
    }
    Ok(command)
}

/// Read by Nix's garbage collector.
const HEAP_VARIABLE: &str = "GC_INITIAL_HEAP_SIZE";

/// The memory that is filled before garbage is looked for. Machines of NixOS
/// need this much in any case, and Nix begins with a third of it: looking for
/// garbage meanwhile finds little, and takes a tenth of the time.
fn first_heap_bytes() -> Option<u64> {
    let memory = nix::sys::sysinfo::sysinfo().ok()?.ram_total();
    Some((memory / 4).min(1 << 30))
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

/// The file of a flake, if it is on this machine: scripts are looked for
/// in it and in what it imports.
pub(super) fn flake_file(reference: &str) -> PathBuf {
    let address = ["path:", "git+file://"]
        .iter()
        .find_map(|scheme| reference.strip_prefix(scheme))
        .unwrap_or(reference);
    let (folder, parameters) = address.split_once('?').unwrap_or((address, ""));
    let inner = parameters
        .split('&')
        .find_map(|parameter| parameter.strip_prefix("dir="));
    Path::new(folder)
        .join(inner.unwrap_or_default())
        .join("flake.nix")
}

/// The file itself, or the `default.nix` of a folder; absolute.
pub(super) fn test_file(path: &Path) -> Result<PathBuf, EvalError> {
    let file = if path.is_dir() {
        path.join("default.nix")
    } else {
        path.to_owned()
    };
    if !file.exists() {
        return Err(EvalError::NoFile(file));
    }
    std::path::absolute(&file).map_err(|source| EvalError::File { path: file, source })
}

/// `a."b.c".d` as `["a", "b.c", "d"]`.
fn split_attribute(path: &str) -> Option<Vec<String>> {
    let mut names = vec![String::new()];
    let mut quoted = false;
    for c in path.chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => names.push(String::new()),
            _ => names.last_mut()?.push(c),
        }
    }
    (!quoted).then(|| names.into_iter().filter(|name| !name.is_empty()).collect())
}

fn nix_string(text: &str) -> String {
    format!(
        "\"{}\"",
        text.replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace("${", "\\${")
    )
}

fn nix_list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| nix_string(item)).collect();
    format!("[ {} ]", items.join(" "))
}

fn nix_arguments(arguments: &Arguments) -> String {
    let expressions = arguments
        .expressions
        .iter()
        // On a line of its own, so that a comment at its end hides nothing.
        .map(|(name, expression)| format!("{} = (\n{expression}\n);", nix_string(name)));
    let strings = arguments
        .strings
        .iter()
        .map(|(name, text)| format!("{} = {};", nix_string(name), nix_string(text)));
    format!(
        "{{ {} }}",
        expressions.chain(strings).collect::<Vec<_>>().join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attribute_paths_may_be_quoted() {
        assert_eq!(split_attribute("a.b"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(
            split_attribute(r#"checks."x.y".z"#),
            Some(vec!["checks".into(), "x.y".into(), "z".into()])
        );
        assert_eq!(split_attribute(r#"a."b"#), None);
    }

    #[test]
    fn strings_reach_nix_as_they_are() {
        assert_eq!(nix_string(r#"a"b\c${d}"#), r#""a\"b\\c\${d}""#);
    }
}
