//! Remembers what an evaluation gave, for as long as nothing that it read has changed.
//!
//! Nix tells which files it evaluated. What else it read is found in the text
//! of those that are the user's (see `sources`); the store and this program's
//! own library never change. Where there is a doubt, nothing is remembered.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::sources::{Doubt, Input, inputs};
use super::stamp::Stamp;
use crate::child::on_path;

/// With more files of the user's than this, as of a whole nixpkgs outside the
/// store, looking through them would take longer than evaluating.
const MOST_FILES: usize = 200;

/// How long an answer is kept that nobody asks for again with other files.
const KEPT: Duration = Duration::from_hours(24 * 30);

/// Variables that Nix itself and nixpkgs read.
const VARIABLES: [&str; 6] = [
    "HOME",
    "USER",
    "LOGNAME",
    "XDG_CONFIG_HOME",
    "IN_NIX_SHELL",
    "PATH",
];

/// Configuration that Nix and nixpkgs read, below the home folder.
const CONFIGURATION: [&str; 3] = [".config/nix", ".config/nixpkgs", ".nixpkgs"];

/// Variables that name more of it.
const CONFIGURATION_VARIABLES: [&str; 3] =
    ["NIX_CONF_DIR", "NIX_USER_CONF_FILES", "NIXPKGS_CONFIG"];

/// Where Nix looks for nixpkgs when nothing else is said; the relative ones
/// below the home folder.
const CHANNELS: [&str; 5] = [
    "/nix/var/nix/profiles/per-user/root/channels",
    "/root/.nix-defexpr/channels",
    ".nix-defexpr/channels",
    ".local/state/nix/profiles/channels",
    ".local/state/nix/defexpr/channels",
];

/// What was asked: anything that can make another answer, but for files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The whole command line.
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    /// Where the names of the search path lead to.
    search: BTreeMap<String, PathBuf>,
}

/// What Nix said to it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Said {
    pub answer: String,
    /// Warnings and traces of the Nix code.
    pub remarks: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    program: String,
    question: Question,
    files: Vec<(PathBuf, Stamp)>,
    variables: Vec<(String, Option<String>)>,
    said: Said,
}

/// The cache, for evaluations by the library in `own`.
#[derive(Debug)]
pub struct Cache<'a> {
    pub folder: PathBuf,
    pub own: &'a Path,
    /// Whether something stands in for a nixpkgs that is fetched.
    pub stand_in: bool,
}

impl Question {
    /// What the command line asks in this environment; None where the search
    /// path leads to what is not a folder here.
    #[must_use]
    pub fn new(arguments: Vec<String>, includes: &[String]) -> Option<Self> {
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("NIX") || VARIABLES.contains(&name.as_str()))
            .collect();
        let mut search = BTreeMap::new();
        let entries = environment
            .get("NIX_PATH")
            .map(String::as_str)
            .unwrap_or_default();
        if ["://", "flake:", "channel:"]
            .iter()
            .any(|scheme| entries.contains(scheme))
        {
            return None;
        }
        for entry in includes
            .iter()
            .map(String::as_str)
            .chain(entries.split(':'))
        {
            let (name, path) = entry.split_once('=').unwrap_or(("", entry));
            if path.contains("://") || path.starts_with("flake:") || path.starts_with("channel:") {
                return None;
            }
            if let Ok(path) = fs::canonicalize(path) {
                search.entry(format!("{name}={entry}")).or_insert(path);
            }
        }
        for folder in CHANNELS.map(|folder| home().join(folder)) {
            for channel in [folder.clone(), folder.join("nixpkgs")] {
                if let Ok(path) = fs::canonicalize(&channel) {
                    search.insert(format!("={}", channel.display()), path);
                }
            }
        }
        Some(Self {
            arguments,
            environment,
            search,
        })
    }

    fn file_name(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.arguments.hash(&mut hasher);
        self.environment.hash(&mut hasher);
        format!("{:016x}.json", hasher.finish())
    }
}

impl Cache<'_> {
    /// What the same question was answered before, if nothing has changed since.
    #[must_use]
    pub fn recall(&self, question: &Question) -> Option<Said> {
        let text = fs::read(self.folder.join(question.file_name())).ok()?;
        let entry: Entry = serde_json::from_slice(&text).ok()?;
        let is_same = entry.program == program()
            && entry.question == *question
            && entry
                .variables
                .iter()
                .all(|(name, value)| std::env::var(name).ok() == *value)
            && entry
                .files
                .iter()
                .all(|(path, stamp)| Stamp::of(path) == Some(*stamp));
        is_same.then_some(entry.said)
    }

    /// Remembers an answer that came of these Nix files since `begin`.
    pub fn remember(&self, question: Question, read: &[PathBuf], begin: SystemTime, said: Said) {
        match self.entry(question, read, begin, said) {
            Ok(entry) => {
                // Without a cache everything works as well.
                if let Err(error) = self.write(&entry) {
                    tracing::warn!("{}: {error}", self.folder.display());
                }
            }
            Err(Doubt(reason)) => tracing::info!("the evaluation is not remembered: {reason}"),
        }
    }

    fn entry(
        &self,
        question: Question,
        read: &[PathBuf],
        begin: SystemTime,
        said: Said,
    ) -> Result<Entry, Doubt> {
        let users: Vec<PathBuf> = read
            .iter()
            .filter(|file| !self.is_fixed(file))
            .map(|file| {
                if file.is_dir() {
                    file.join("default.nix")
                } else {
                    file.clone()
                }
            })
            .collect();
        if users.len() > MOST_FILES {
            return Err(Doubt(format!("{} files outside the store", users.len())));
        }
        let mut paths = users.clone();
        paths.extend(configuration()?);
        // Such as the index of the built-in guests, and overlays.
        paths.extend(question.search.values().cloned());
        let mut variables = Vec::new();
        for file in &users {
            let text = fs::read_to_string(file)
                .map_err(|error| Doubt(format!("{}: {error}", file.display())))?;
            for input in inputs(file, &text, self.stand_in)? {
                match input {
                    Input::Path(path) => paths.push(path),
                    Input::Variable(name) => {
                        let value = std::env::var(&name).ok();
                        variables.push((name, value));
                    }
                    Input::Search(name) => self.check_search(&name, &question)?,
                }
            }
        }
        paths.sort();
        paths.dedup();
        let stamped = paths
            .into_iter()
            .filter(|path| !self.is_fixed(path))
            .map(|path| {
                let stamp = Stamp::of(&path).ok_or_else(|| {
                    Doubt(format!(
                        "{} holds too much, or links to folders",
                        path.display()
                    ))
                })?;
                if stamp.is_newer_than(begin) {
                    return Err(Doubt(format!("{} has just changed", path.display())));
                }
                Ok((path, stamp))
            });
        Ok(Entry {
            program: program(),
            files: stamped.collect::<Result<_, _>>()?,
            question,
            variables,
            said,
        })
    }

    /// What a name of the search path leads to is read by Nix code elsewhere,
    /// unless it never changes.
    fn check_search(&self, name: &str, question: &Question) -> Result<(), Doubt> {
        let changing = question.search.iter().find(|(entry, path)| {
            let is_meant = entry.starts_with(&format!("{name}=")) || entry.starts_with('=');
            is_meant && !self.is_fixed(path)
        });
        match changing {
            Some((_, path)) => Err(Doubt(format!("<{name}> is {}", path.display()))),
            None => Ok(()),
        }
    }

    fn is_fixed(&self, path: &Path) -> bool {
        // Nix has some files in itself, `<nix/derivation-internal.nix>` before
        // 2.27 and `«nix-internal»/…` since then.
        let is_nix = path.to_string_lossy().starts_with(['<', '«']);
        is_nix || path.starts_with("/nix/store") || path.starts_with(self.own)
    }

    fn write(&self, entry: &Entry) -> std::io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&serde_json::to_vec(entry)?)?;
        file.persist(self.folder.join(entry.question.file_name()))?;
        self.forget_old()
    }

    fn forget_old(&self) -> std::io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let age = entry.metadata()?.modified()?.elapsed();
            if age.is_ok_and(|age| age > KEPT) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// This program, of which another build may ask in another way, and Nix.
fn program() -> String {
    let files = [std::env::current_exe().ok(), on_path("nix-instantiate")];
    let stamps = files.map(|file| file.as_deref().and_then(Stamp::of));
    format!("{stamps:?}")
}

fn home() -> PathBuf {
    std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default()
}

/// The files and folders of configuration.
fn configuration() -> Result<Vec<PathBuf>, Doubt> {
    let mut paths = vec![PathBuf::from("/etc/nix")];
    paths.extend(CONFIGURATION.map(|name| home().join(name)));
    if let Some(folder) = std::env::var_os("XDG_CONFIG_HOME") {
        paths.extend(["nix", "nixpkgs"].map(|name| Path::new(&folder).join(name)));
    }
    for variable in CONFIGURATION_VARIABLES {
        let value = std::env::var_os(variable).unwrap_or_default();
        paths.extend(std::env::split_paths(&value).filter(|path| path.is_absolute()));
    }
    for path in &paths {
        for file in [path.clone(), path.join("nix.conf")] {
            let text = fs::read_to_string(&file).unwrap_or_default();
            if text.lines().any(leads_elsewhere) {
                return Err(Doubt(format!("{} leads to other files", file.display())));
            }
        }
    }
    Ok(paths)
}

/// A line of nix.conf by which more is read than the file.
fn leads_elsewhere(line: &str) -> bool {
    let word = line.split([' ', '\t', '=']).next().unwrap_or_default();
    ["include", "!include", "nix-path", "extra-nix-path"].contains(&word)
}
