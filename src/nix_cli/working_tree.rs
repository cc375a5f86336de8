//! The folder that the sources of a flake are copied from: its files count, not their copies in the store.
//!
//! Nix copies the whole sources of a flake at every edit, to another path of the store. An evaluation that depends on
//! some of the files, and on neither that path nor the commit, is the same as long as these files are.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::derivation_file::derivations_below;
use super::input_state::{kinds, listing};
use super::reads::{Input, Reads};
use crate::digest::Digest;

/// A folder with more in it is not compared with its copy.
const MOST_ENTRIES: usize = 5000;

/// The report of a test that looks at the flake itself (`nix-lib/locked-flake.nix`).
const SELF: &str = "self";

/// The sources of a flake: the folder and its copy.
#[derive(Debug)]
pub(super) struct WorkingTree {
    root: PathBuf,
    /// The folder of the flake.
    flake: PathBuf,
    /// The copy in the store.
    copy: PathBuf,
    is_git: bool,
}

/// The state of the rest of the folder, as far as an evaluation depends on it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TreeState {
    root: PathBuf,
    /// The digest of the names of the files that Git tracks: Nix copies no others.
    tracked: Option<String>,
    /// Whether files differ from the last commit, if it makes a difference.
    is_dirty: Option<bool>,
}

impl WorkingTree {
    /// The folder of the flake in `flake`, whose sources are copied to `copy`; `is_path` if all of the folder is, Git or not.
    pub fn new(flake: &Path, is_path: bool, copy: &Path) -> Option<Self> {
        let flake = fs::canonicalize(flake).ok()?;
        let repository = flake
            .ancestors()
            .find(|folder| folder.join(".git").exists());
        let repository = repository.filter(|_| !is_path).map(Path::to_owned);
        Some(Self {
            is_git: repository.is_some(),
            root: repository.unwrap_or_else(|| flake.clone()),
            flake,
            copy: copy.to_owned(),
        })
    }

    /// Returns the original of a path in the copy.
    pub fn in_tree(&self, path: &Path) -> Option<PathBuf> {
        let rest = path.strip_prefix(&self.copy).ok()?;
        // Joining nothing would add a slash.
        Some(if rest.as_os_str().is_empty() {
            self.root.clone()
        } else {
            self.root.join(rest)
        })
    }

    /// Checks that an answer and its derivations do not name the copy, which is another at each edit.
    ///
    /// # Errors
    /// Returns what names it.
    pub fn check_answer(&self, answer: &str) -> Result<(), String> {
        let name = self.copy.file_name().unwrap_or_default().to_string_lossy();
        if answer.contains(&*name) {
            return Err("the manifest names its path in the store".to_owned());
        }
        let mut seen = BTreeSet::new();
        let words = answer.split(['"', '\\']);
        let derivations = words.filter(|word| Path::new(word).extension() == Some("drv".as_ref()));
        for derivation in derivations.map(Path::new).filter(|it| it.is_absolute()) {
            let below = derivations_below(derivation).map_err(|error| error.to_string())?;
            for path in below.into_keys() {
                if !seen.insert(path.clone()) {
                    continue;
                }
                let text = fs::read(&path).map_err(|error| error.to_string())?;
                if String::from_utf8_lossy(&text).contains(&*name) {
                    return Err(format!("{} is made of it", path.display()));
                }
            }
        }
        Ok(())
    }

    /// Returns the file that Nix reads before an evaluation, besides the flake's own.
    pub fn lock_file(&self) -> Input {
        Input::File(self.flake.join("flake.lock"))
    }

    /// Returns the state of the rest of the folder.
    ///
    /// # Errors
    /// Returns why the evaluation depends on the whole folder.
    pub fn state(&self, reads: &Reads) -> Result<TreeState, String> {
        if let Some(fact) = reads.flake_facts.iter().find(|fact| *fact != SELF) {
            return Err(format!("the test depends on `self.{fact}`"));
        }
        let is_needed = self.is_git && !reads.flake_facts.is_empty();
        let no_git = || "Git does not answer".to_owned();
        let names = self.is_git.then(|| tracked(&self.root).ok_or_else(no_git));
        let dirty = is_needed.then(|| is_dirty(&self.root).ok_or_else(no_git));
        Ok(TreeState {
            root: self.root.clone(),
            tracked: names.transpose()?,
            is_dirty: dirty.transpose()?,
        })
    }
}

/// Checks that an original is as its copy.
///
/// # Errors
/// Returns why the two cannot stand for each other: files that Git does not track, or an edit meanwhile.
pub(super) fn check_original(copy: &Input, original: &Input) -> Result<(), String> {
    let (copied, path) = (copy.path(), original.path());
    let is_same = match copy {
        Input::Import(_) | Input::File(_) if copied.is_dir() => {
            path.is_dir() && is_same_file(&copied.join(DEFAULT), &path.join(DEFAULT))
        }
        Input::Import(_) | Input::File(_) => is_same_file(copied, path),
        Input::Folder(_) => listing(copied) == listing(path),
        Input::Kind(_) => kinds(copied) == kinds(path),
        Input::Tree(_) => {
            let tree = content(copied);
            tree.is_some() && tree == content(path)
        }
    };
    if is_same {
        Ok(())
    } else {
        Err(format!("{} is not as Nix copied it", path.display()))
    }
}

/// Whether two files have the same content, and may be executed or not.
fn is_same_file(copied: &Path, path: &Path) -> bool {
    let is_executable = |path: &Path| {
        let metadata = fs::metadata(path);
        metadata.is_ok_and(|it| it.permissions().mode() & 0o111 != 0)
    };
    match (fs::read(copied), fs::read(path)) {
        (Ok(copy), Ok(original)) => {
            copy == original && is_executable(copied) == is_executable(path)
        }
        (Err(_), Err(_)) => !copied.exists() && !path.exists(),
        _ => false,
    }
}

const DEFAULT: &str = "default.nix";

impl TreeState {
    /// Whether the folder is still in this state.
    pub fn is_same(&self) -> bool {
        let names = self.tracked.is_none() || tracked(&self.root) == self.tracked;
        names && (self.is_dirty.is_none() || is_dirty(&self.root) == self.is_dirty)
    }
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
    let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    Path::new(&decoded(folder))
        .join(decoded(inner.unwrap_or_default()))
        .join("flake.nix")
}

fn git(root: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(root)
        // A program that the repository names is not run.
        .args(["-c", "core.fsmonitor=false"])
        // No other repository is meant, and nothing is written.
        .env_remove("GIT_DIR")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn tracked(root: &Path) -> Option<String> {
    let output = git(root).args(["ls-files", "-z"]).output().ok()?;
    let names = output.status.success().then_some(output.stdout)?;
    Some(Digest::default().field(names).name())
}

fn is_dirty(root: &Path) -> Option<bool> {
    let mut command = git(root);
    command.args(["diff-index", "--quiet", "HEAD", "--"]);
    // 1 says that something differs; a repository without a commit has 128.
    match command.stdout(Stdio::null()).status().ok()?.code()? {
        0 => Some(false),
        1 | 128 => Some(true),
        _ => None,
    }
}

/// The digest of all in a folder, or of a file; `None` if it is too much.
fn content(path: &Path) -> Option<String> {
    let mut digest = Digest::default();
    for (number, entry) in WalkDir::new(path)
        .sort_by_file_name()
        .into_iter()
        .enumerate()
    {
        let entry = entry.ok()?;
        if number > MOST_ENTRIES {
            return None;
        }
        let name = entry.path().strip_prefix(path).ok()?;
        digest.field(name.as_os_str().as_bytes());
        let kind = entry.file_type();
        if kind.is_symlink() {
            digest
                .field("link")
                .field(fs::read_link(entry.path()).ok()?.as_os_str().as_bytes());
        } else if kind.is_file() {
            let mode = entry.metadata().ok()?.permissions().mode();
            digest.field(if mode & 0o111 == 0 { "file" } else { "program" });
            digest.field(fs::read(entry.path()).ok()?);
        } else {
            digest.field("folder");
        }
    }
    Some(digest.name())
}
