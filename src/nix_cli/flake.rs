//! A flake whose inputs are resolved once, by Nix: every evaluation takes the result.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tempfile::{NamedTempFile, TempPath};
use tokio::sync::OnceCell;

use super::eval_error::EvalError;
use super::working_tree::{WorkingTree, flake_file};
use super::{Library, Nix};
use crate::digest::Digest;
use crate::folders;

/// A flake, and what the user wishes of its inputs.
#[derive(Debug, Clone)]
pub struct Flake {
    pub reference: String,
    /// Options of `nix flake metadata`, such as `--override-input`.
    wishes: Vec<String>,
    /// `None` if this Nix does not tell where the sources are: each evaluation asks for the flake then.
    locked: Arc<OnceCell<Option<LockFile>>>,
}

/// The sources of a flake and the locks of its inputs, in a file for nix-lib/locked-flake.nix.
#[derive(Debug)]
struct LockFile {
    path: PathBuf,
    /// The folder of the flake, if the lock file in it says all about its inputs.
    tree: Option<WorkingTree>,
    _temporary: Option<TempPath>,
}

/// The part of Nix's answer on a flake that is needed.
#[derive(Debug, Deserialize)]
struct Metadata {
    path: Option<PathBuf>,
    locked: Map<String, Value>,
    locks: Value,
}

/// The content of the file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Lock {
    source: PathBuf,
    /// The folder of the flake in it.
    folder: String,
    source_info: Map<String, Value>,
    locks: Value,
}

/// The facts on its sources that a flake may ask for.
const FACTS: [&str; 7] = [
    "dirtyRev",
    "dirtyShortRev",
    "lastModified",
    "narHash",
    "rev",
    "revCount",
    "submodules",
];

/// The option that makes a lock file that does not fit an error.
pub const NO_UPDATE: &str = "--no-update-lock-file";

/// How long the name of a commit is that is short, as Nix has it.
const SHORT: usize = 7;

impl Flake {
    #[must_use]
    pub fn new(reference: String, wishes: Vec<String>) -> Self {
        Self {
            reference,
            wishes,
            locked: Arc::default(),
        }
    }

    /// Returns the command that resolves the inputs. The lock file is used, and never written.
    fn metadata_command(&self, nix: &Nix) -> Command {
        let mut command = nix.command("nix");
        command
            .args(["--extra-experimental-features", "flakes nix-command"])
            .args(["flake", "metadata", "--json"])
            .args(&self.wishes);
        // A file that may not change is not written, and with both options Nix says nothing of it.
        if !self.wishes.iter().any(|wish| wish == NO_UPDATE) {
            command.arg("--no-write-lock-file");
        }
        command.args(["--", &self.reference]);
        command
    }

    /// Resolves the flake; `run` returns the output of a command.
    ///
    /// # Errors
    /// Returns the error of `run`, or one on what Nix has said.
    pub(super) async fn lock(
        &self,
        nix: &Nix,
        library: &Library,
        run: impl AsyncFnOnce(Command) -> Result<String, EvalError>,
    ) -> Result<(), EvalError> {
        let resolve = || async {
            let answer = run(self.metadata_command(nix)).await;
            let text = answer.map_err(|error| self.name_in(error))?;
            let metadata: Metadata = serde_json::from_str(&text).map_err(EvalError::BadMetadata)?;
            match metadata.path.clone().filter(|path| path.exists()) {
                Some(source) => {
                    let tree = self.tree_of(&metadata, &source);
                    let lock = Lock::of(metadata, source);
                    let file = LockFile::write(&lock, tree, library);
                    Ok(Some(file.map_err(EvalError::Temporary)?))
                }
                None if self.wishes.is_empty() => Ok(None),
                None => Err(EvalError::NoFlakeSource(self.reference.clone())),
            }
        };
        self.locked.get_or_try_init(resolve).await.map(drop)
    }

    /// Returns an error of Nix with the flake that it comes from: not all of its messages name it.
    fn name_in(&self, error: EvalError) -> EvalError {
        match error {
            EvalError::Nix(message) => EvalError::Nix(format!(
                "cannot read the flake {}: {message}",
                self.reference
            )),
            other => other,
        }
    }

    /// Adds the arguments of the library's entry for the flake, as it is resolved so far.
    pub(super) fn add_to(&self, command: &mut Command) {
        match self.lock_file() {
            Some(file) => command.args(["--argstr", "flakeLock"]).arg(&file.path),
            None => command.args(["--argstr", "flake", &self.reference]),
        };
    }

    /// Whether the inputs are resolved, so that an answer can be remembered.
    pub(super) fn is_resolved(&self) -> bool {
        self.lock_file().is_some()
    }

    /// Whether it is a folder of this host as it is, and the user wishes nothing else of its inputs.
    pub(super) fn is_plain_folder(&self) -> bool {
        let parameters = self.reference.split_once('?').map(|(_, it)| it);
        let is_plain = parameters.is_none_or(|it| it.starts_with("dir=") && !it.contains('&'));
        let no_wishes = self.wishes.iter().all(|wish| wish == NO_UPDATE);
        is_plain && no_wishes && flake_file(&self.reference).is_file()
    }

    /// Returns the folder of the flake, if an answer depends on files in it and not on their copy in the store.
    ///
    /// # Errors
    /// Returns what else the answer depends on.
    pub(super) fn working_tree_of(&self, answer: &str) -> Result<&WorkingTree, String> {
        let tree = self.lock_file().and_then(|file| file.tree.as_ref());
        let tree = tree.ok_or("its lock file does not say all about its inputs")?;
        tree.check_answer(answer)?;
        Ok(tree)
    }

    fn tree_of(&self, metadata: &Metadata, source: &Path) -> Option<WorkingTree> {
        let flake = flake_file(&self.reference);
        let folder = flake.parent().filter(|_| self.is_plain_folder())?;
        let written = std::fs::read(folder.join("flake.lock")).ok();
        let written: Option<Value> = written.and_then(|text| serde_json::from_slice(&text).ok());
        let nodes = metadata.locks.get("nodes");
        let is_whole = match written {
            Some(written) => written.get("nodes") == nodes,
            None => nodes
                .and_then(Value::as_object)
                .is_some_and(|nodes| nodes.len() == 1),
        };
        let is_path = self.reference.starts_with("path:");
        WorkingTree::new(folder, is_path, source).filter(|_| is_whole)
    }

    fn lock_file(&self) -> Option<&LockFile> {
        self.locked.get()?.as_ref()
    }
}

/// Returns a hint if an input is not what the lock file says.
pub(super) fn lock_hint(message: &str) -> Option<String> {
    let is_of_lock = ["store path mismatch in", "NAR hash mismatch in"]
        .iter()
        .any(|mismatch| message.contains(mismatch));
    let hint = "\n\nAn input of the flake is not what flake.lock says of it: `nix flake update INPUT` locks \
                what is there, `nix flake lock --update-input INPUT` before Nix 2.19.";
    is_of_lock.then(|| hint.to_owned())
}

impl Lock {
    fn of(metadata: Metadata, source: PathBuf) -> Self {
        let Metadata {
            locked, mut locks, ..
        } = metadata;
        let is_git = locked.get("type").is_some_and(|kind| kind == "git");
        let folder = locked.get("dir").and_then(Value::as_str);
        let folder = folder.unwrap_or_default().to_owned();
        let mut source_info: Map<String, Value> = locked
            .into_iter()
            .filter(|(name, _)| FACTS.contains(&name.as_str()))
            .collect();
        let rev = source_info.get("rev").and_then(Value::as_str);
        if let Some(short) = rev.and_then(|rev| rev.get(..SHORT)) {
            let short = short.into();
            source_info.insert("shortRev".to_owned(), short);
        }
        if is_git {
            source_info.entry("submodules").or_insert(false.into());
        }
        add_date(&mut source_info);
        // Nix adds it to what it fetches itself.
        let nodes = locks.get_mut("nodes").and_then(Value::as_object_mut);
        for node in nodes.into_iter().flat_map(Map::values_mut) {
            let locked = node.get_mut("locked").and_then(Value::as_object_mut);
            locked.into_iter().for_each(add_date);
        }
        Self {
            source,
            folder,
            source_info,
            locks,
        }
    }
}

/// Adds the time of the last change as Nix writes it.
fn add_date(facts: &mut Map<String, Value>) {
    let modified = facts.get("lastModified").and_then(Value::as_i64);
    let modified = modified.and_then(|seconds| Timestamp::from_second(seconds).ok());
    if let Some(modified) = modified {
        let date = modified.strftime("%Y%m%d%H%M%S").to_string();
        facts.insert("lastModifiedDate".to_owned(), date.into());
    }
}

impl LockFile {
    /// Writes the file to the cache, by its content's name: a question to Nix is the same as long as the flake is.
    fn write(lock: &Lock, tree: Option<WorkingTree>, library: &Library) -> std::io::Result<Self> {
        let text = serde_json::to_vec(lock)?;
        let Some(folder) = library.evaluations() else {
            let mut file = NamedTempFile::new_in(folders::temporary_base())?;
            file.write_all(&text)?;
            let temporary = file.into_temp_path();
            return Ok(Self {
                path: temporary.to_path_buf(),
                tree,
                _temporary: Some(temporary),
            });
        };
        folders::create_private(&folder)?;
        let mut digest = Digest::default();
        digest.field(&text);
        let path = folder.join(format!("flake-{}.json", digest.name()));
        let mut file = NamedTempFile::new_in(&folder)?;
        file.write_all(&text)?;
        // It is as old as its last use.
        file.persist(&path)?;
        Ok(Self {
            path,
            tree,
            _temporary: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn facts_on_sources_are_those_of_nix() {
        let metadata = json!({
            "path": "/nix/store/x-source",
            "locked": {
                "__final": true, "dir": "sub", "lastModified": 1_796_006_474, "narHash": "sha256-x",
                "rev": "797dbcaff01fe0c4ed29e2ad5184a1948577988e", "revCount": 3, "type": "git", "url": "file:///x",
            },
            "locks": { "root": "root" },
            "description": "unknown to us",
        });
        let lock = Lock::of(
            serde_json::from_value(metadata).unwrap(),
            PathBuf::from("/nix/store/x-source"),
        );
        assert_eq!(lock.folder, "sub");
        let expected = json!({
            "lastModified": 1_796_006_474, "lastModifiedDate": "20261130024114", "narHash": "sha256-x",
            "rev": "797dbcaff01fe0c4ed29e2ad5184a1948577988e", "revCount": 3, "shortRev": "797dbca",
            "submodules": false,
        });
        assert_eq!(Value::Object(lock.source_info), expected);
    }
}
