//! Remembers what an evaluation gave, for as long as nothing that it read has changed.
//!
//! Nix tells which files it evaluated. What else it read is found in the text
//! of those that are the user's (see `sources`); the store and this program's
//! own library never change. If there is a doubt, nothing is remembered.
//!
//! Arguments and variables may hold secrets, such as the access tokens in
//! `NIX_CONFIG`. What is compared is therefore stored as a digest, with a key
//! that only this user can read.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::moment::Moment;
use super::sources::{Doubt, FetchedNixpkgs, Input, inputs};
use super::stamp::Stamp;
use crate::child::on_path;
use crate::digest::Digest;
use crate::folders::create_private;

/// With more files of the user's than this, as of a whole nixpkgs outside the
/// store, looking through them would take longer than evaluating.
const MOST_FILES: usize = 200;

/// How long an unused answer stays in the cache.
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

/// Where Nix looks for nixpkgs when nothing else is reply; the relative ones
/// below the home folder.
const CHANNELS: [&str; 5] = [
    "/nix/var/nix/profiles/per-user/root/channels",
    "/root/.nix-defexpr/channels",
    ".nix-defexpr/channels",
    ".local/state/nix/profiles/channels",
    ".local/state/nix/defexpr/channels",
];

/// The file of the key for digests.
const KEY: &str = "key";

/// A question to Nix: everything that can change the answer, except files. It is never written to disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The whole command line.
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    /// Where the names of the search path lead to.
    search: BTreeMap<String, PathBuf>,
}

/// The answer of Nix to a question.
#[derive(Debug, Serialize, Deserialize)]
pub struct NixReply {
    pub answer: String,
    /// Warnings and traces of the Nix code.
    pub warnings: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct CacheEntry {
    program: String,
    /// Its digest.
    question: String,
    files: Vec<(PathBuf, Stamp)>,
    /// Digests of the values, by the variables' names.
    variables: Vec<(String, Option<String>)>,
    reply: NixReply,
}

/// The cache, for evaluations by the library in `own`.
#[derive(Debug)]
pub struct Cache<'a> {
    pub folder: PathBuf,
    pub own: &'a Path,
    /// The sources of a flake in the store: code of the user's that may read what changes.
    pub flake: Option<&'a Path>,
    /// Whether a fetched nixpkgs is replaced.
    pub fetched: FetchedNixpkgs,
}

impl Question {
    /// Returns the question of a command line in this environment; `None` if a name of the search path leads to no
    /// folder of this host.
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

    /// The digest of all of it but the search path: a question takes the place
    /// of an earlier one for which that was another.
    fn file_name(&self, key: &[u8; 32]) -> String {
        let mut digest = Digest::keyed(key);
        self.add_to(&mut digest);
        format!("{}.json", digest.name())
    }

    fn digest(&self, key: &[u8; 32]) -> String {
        let mut digest = Digest::keyed(key);
        self.add_to(&mut digest);
        for (entry, path) in &self.search {
            digest
                .field(entry)
                .field(path.as_os_str().as_encoded_bytes());
        }
        digest.hex()
    }

    fn add_to(&self, digest: &mut Digest) {
        digest.field(self.arguments.len().to_le_bytes());
        for argument in &self.arguments {
            digest.field(argument);
        }
        digest.field(self.environment.len().to_le_bytes());
        for (name, value) in &self.environment {
            digest.field(name).field(value);
        }
    }
}

impl Cache<'_> {
    /// Returns the earlier answer to the same question, if nothing has changed since.
    #[must_use]
    pub fn recall(&self, question: &Question) -> Option<NixReply> {
        let key = read_key(&self.folder).ok()?;
        let text = fs::read(self.folder.join(question.file_name(&key))).ok()?;
        let entry: CacheEntry = serde_json::from_slice(&text).ok()?;
        let is_same = entry.program == program()
            && entry.question == question.digest(&key)
            && entry
                .variables
                .iter()
                .all(|(name, value)| variable(name, &key) == *value)
            && entry
                .files
                .iter()
                .all(|(path, stamp)| Stamp::of(path).as_ref() == Some(stamp));
        is_same.then_some(entry.reply)
    }

    /// Remembers an answer that came of these Nix files since `begin`.
    pub fn remember(&self, question: &Question, read: &[PathBuf], begin: Moment, reply: NixReply) {
        // Without a cache everything works as well.
        let unusable = |error: &io::Error| tracing::warn!("{}: {error}", self.folder.display());
        let key = match make_key(&self.folder) {
            Ok(key) => key,
            Err(error) => return unusable(&error),
        };
        match self.entry(question, &key, read, begin, reply) {
            Ok(entry) => {
                if let Err(error) = self.write(&question.file_name(&key), &entry) {
                    unusable(&error);
                }
            }
            Err(Doubt(reason)) => tracing::info!("the evaluation is not remembered: {reason}"),
        }
    }

    fn entry(
        &self,
        question: &Question,
        key: &[u8; 32],
        read: &[PathBuf],
        begin: Moment,
        reply: NixReply,
    ) -> Result<CacheEntry, Doubt> {
        if begin.clock_was_set() {
            return Err(Doubt("the clock was set meanwhile".to_owned()));
        }
        let users = self.user_files(read)?;
        let mut paths = users.clone();
        paths.extend(configuration()?);
        // Such as the index of the built-in guests, and overlays.
        paths.extend(question.search.values().cloned());
        let mut variables = Vec::new();
        for file in &users {
            let text = fs::read_to_string(file)
                .map_err(|error| Doubt(format!("{}: {error}", file.display())))?;
            for input in inputs(file, &text, self.fetched)? {
                match input {
                    Input::Path(path) => paths.push(path),
                    Input::Variable(name) => {
                        let value = variable(&name, key);
                        variables.push((name, value));
                    }
                    Input::Search(name) => self.check_search(&name, question)?,
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
                if stamp.is_newer_than(begin.wall()) {
                    return Err(Doubt(format!("{} has just changed", path.display())));
                }
                Ok((path, stamp))
            });
        Ok(CacheEntry {
            program: program(),
            files: stamped.collect::<Result<_, _>>()?,
            question: question.digest(key),
            variables,
            reply,
        })
    }

    /// The files that were read and may change.
    fn user_files(&self, read: &[PathBuf]) -> Result<Vec<PathBuf>, Doubt> {
        let users: Vec<PathBuf> = read
            .iter()
            .filter(|file| !self.is_fixed(file) || self.is_in_flake(file))
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
        Ok(users)
    }

    /// Checks a name of the search path: Nix code elsewhere reads the folder behind it, unless the folder never
    /// changes.
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

    fn is_in_flake(&self, path: &Path) -> bool {
        self.flake.is_some_and(|flake| path.starts_with(flake))
    }

    fn is_fixed(&self, path: &Path) -> bool {
        // Nix has some files in itself, `<nix/derivation-internal.nix>` before
        // 2.27 and `«nix-internal»/…` since then.
        let is_nix = path.to_string_lossy().starts_with(['<', '«']);
        is_nix || path.starts_with("/nix/store") || path.starts_with(self.own)
    }

    fn write(&self, name: &str, entry: &CacheEntry) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&serde_json::to_vec(entry)?)?;
        file.persist(self.folder.join(name))?;
        self.forget_old()
    }

    fn forget_old(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name() == KEY {
                continue;
            }
            let age = entry.metadata()?.modified()?.elapsed();
            if age.is_ok_and(|age| age > KEPT) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// The digest of a variable's value.
fn variable(name: &str, key: &[u8; 32]) -> Option<String> {
    let value = std::env::var_os(name)?;
    Some(Digest::keyed(key).field(value.as_encoded_bytes()).hex())
}

fn read_key(folder: &Path) -> io::Result<[u8; 32]> {
    let bytes = fs::read(folder.join(KEY))?;
    bytes
        .try_into()
        .map_err(|_| io::Error::other("its key is damaged"))
}

/// The key for digests, made if it is missing or damaged.
fn make_key(folder: &Path) -> io::Result<[u8; 32]> {
    if let Ok(key) = read_key(folder) {
        return Ok(key);
    }
    create_private(folder)?;
    let mut key = [0; 32];
    fs::File::open("/dev/urandom")
        .and_then(|mut source| io::Read::read_exact(&mut source, &mut key))?;
    // Readable by this user only, as all temporary files are.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&key)?;
    file.persist(folder.join(KEY))?;
    Ok(key)
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
