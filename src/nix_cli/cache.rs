//! Remembers what an evaluation gave, for as long as nothing that it read has changed.
//!
//! An answer of Nix depends on the question (arguments, environment, search path, settings), on Nix itself, and on what
//! the evaluation reads. All of that is compared before an answer is repeated:
//!
//! - Each Nix file but those of our own library is evaluated in a scope whose builtins report what they read
//!   (`nix-lib/observe`). A builtin that is not known to depend on its arguments alone makes the evaluation one that is
//!   not remembered.
//! - A path becomes a copy in the store without a builtin: Nix prints these copies, and each evaluation makes one to
//!   show that it does.
//! - Nothing in the store changes, and nothing in our own library.
//!
//! Two edits need less than an evaluation of all: that of a script's text (`script_sources.rs`), and that of one node
//! (`node_parts.rs`), which is evaluated alone. Both show in the text of the only file that differs.
//!
//! Arguments and variables may hold secrets, such as the access tokens in `NIX_CONFIG`. What is compared is therefore
//! stored as a digest, with a key that only this user can read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::evaluation::ScriptEdits;
use super::input_state::{InputState, StateReader, changed_ns};
use super::moment::Moment;
use super::node_parts::NodeParts;
use super::question::{Question, configuration};
use super::reads::{Input, Reads, is_in_store};
use super::script_sources::ScriptSources;
use super::stamp::Stamp;
use super::working_tree::{TreeState, WorkingTree, check_original};
use crate::child::on_path;
use crate::digest::Digest;
use crate::folders::create_private;

/// The most inputs that are compared: a test of nixpkgs reads 5,000 of a checkout.
const MOST_INPUTS: usize = 50_000;

/// How long an unused answer stays in the cache.
const KEPT: Duration = Duration::from_hours(24 * 30);

/// The file of the key for digests.
const KEY: &str = "key";

/// The clock of files ticks some hundred times a second.
const SLACK_NS: i128 = 20_000_000;

/// The answer of Nix to a question.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct NixReply {
    pub answer: String,
    /// Warnings and traces of the Nix code.
    pub warnings: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct CacheEntry {
    program: String,
    /// Its digest.
    question: String,
    inputs: Vec<(Input, InputState)>,
    /// Digests of the values, by the variables' names.
    variables: Vec<(String, Option<String>)>,
    /// The state of the working tree that a flake was copied from.
    tree: Option<TreeState>,
    scripts: ScriptSources,
    /// The parts of the evaluation, if the edit of a node needs no other one.
    nodes: Option<NodeParts>,
    reply: NixReply,
}

/// The cache, for evaluations by the library in `own`.
#[derive(Debug)]
pub(super) struct Cache<'a> {
    pub folder: PathBuf,
    pub own: &'a Path,
    pub edits: ScriptEdits,
}

/// An answer with all that it came of.
pub(super) struct Evaluated<'a> {
    pub reads: &'a Reads,
    pub reply: NixReply,
    /// The answers of the parts, if several processes have evaluated them.
    pub parts: &'a [Value],
    pub begin: Moment,
    /// The working tree of a flake, whose files count in the place of their copies in the store.
    pub tree: Option<&'a WorkingTree>,
}

impl Cache<'_> {
    /// Returns the earlier answer to the same question, if nothing has changed since but the text of scripts.
    #[must_use]
    pub fn recall(&self, question: &Question) -> Option<NixReply> {
        let entry = self.entry_of(question)?;
        let mut states = StateReader::default();
        let mut changed = Vec::new();
        for (input, state) in &entry.inputs {
            if !states.is_same(input, state) {
                changed.push(input);
            }
            if changed.len() > 1 || !changed.is_empty() && self.edits == ScriptEdits::Evaluated {
                return None;
            }
        }
        let Some(changed) = changed.pop() else {
            return Some(entry.reply);
        };
        let answer = entry.scripts.after_edit(changed, &entry.reply.answer)?;
        tracing::info!("{} differs in a script alone", changed.path().display());
        Some(NixReply {
            answer,
            ..entry.reply
        })
    }

    /// Returns the parts of the earlier evaluation, and the node whose edit is all that has changed since.
    #[must_use]
    pub fn edited_node(&self, question: &Question) -> Option<(String, NodeParts)> {
        let entry = self.entry_of(question)?;
        let parts = entry.nodes?;
        let mut states = StateReader::default();
        let differing = entry.inputs.iter();
        let mut differing = differing.filter(|(input, state)| !states.is_same(input, state));
        let (changed, _) = differing.next()?;
        if differing.next().is_some() {
            return None;
        }
        Some((parts.edited(changed)?, parts))
    }

    /// Returns the entry of a question, whose inputs may have changed.
    fn entry_of(&self, question: &Question) -> Option<CacheEntry> {
        let key = read_key(&self.folder).ok()?;
        let text = fs::read(self.folder.join(question.file_name(&key))).ok()?;
        let entry: CacheEntry = serde_json::from_slice(&text).ok()?;
        let is_same = entry.program == program()
            && entry.question == question.digest(&key)
            && entry
                .variables
                .iter()
                .all(|(name, value)| variable(name, &key) == *value)
            && entry.tree.as_ref().is_none_or(TreeState::is_same);
        is_same.then_some(entry)
    }

    /// Remembers an answer; returns whether it can be.
    pub fn remember(&self, question: &Question, evaluated: Evaluated<'_>) -> bool {
        // Without a cache everything works as well.
        let unusable = |error: io::Error| {
            tracing::warn!("{}: {error}", self.folder.display());
            false
        };
        let key = match make_key(&self.folder) {
            Ok(key) => key,
            Err(error) => return unusable(error),
        };
        let entry = match self.entry(question, &key, evaluated) {
            Ok(entry) => entry,
            Err(reason) => {
                tracing::info!("the evaluation is not remembered: {reason}");
                return false;
            }
        };
        let written = self.write(&question.file_name(&key), &entry);
        written.map_or_else(unusable, |()| true)
    }

    fn entry(
        &self,
        question: &Question,
        key: &[u8; 32],
        evaluated: Evaluated<'_>,
    ) -> Result<CacheEntry, String> {
        let Evaluated {
            reads,
            reply,
            parts,
            begin,
            tree,
        } = evaluated;
        if let Some(doubt) = reads.doubt() {
            return Err(doubt);
        }
        if begin.clock_was_set() {
            return Err("the clock was set meanwhile".to_owned());
        }
        let read = self.inputs_of_user(reads, tree)?;
        let scripts = ScriptSources::of(&read, &reads.positions, tree);
        let is_separable = tree.is_none() && !parts.is_empty();
        let nodes = is_separable
            .then(|| NodeParts::of(parts, reads, |path| self.is_own(path)))
            .flatten();
        let mut inputs: BTreeSet<Input> = read.into_keys().collect();
        inputs.extend(tree.map(WorkingTree::lock_file));
        inputs.extend(configuration()?.into_iter().map(Input::Tree));
        Ok(CacheEntry {
            program: program(),
            question: question.digest(key),
            inputs: states_of(inputs, begin)?,
            variables: reads
                .variables
                .iter()
                .map(|name| (name.clone(), variable(name, key)))
                .collect(),
            tree: tree.map(|tree| tree.state(reads)).transpose()?,
            scripts,
            nodes,
            reply,
        })
    }

    /// Returns what was read and may change, and how often; of a flake, the originals.
    fn inputs_of_user(
        &self,
        reads: &Reads,
        tree: Option<&WorkingTree>,
    ) -> Result<BTreeMap<Input, usize>, String> {
        let mut inputs = BTreeMap::new();
        for (input, count) in &reads.inputs {
            if self.is_own(input.path()) {
                continue;
            }
            let original = match tree.and_then(|tree| tree.in_tree(input.path())) {
                Some(path) => {
                    let original = input.at(path);
                    check_original(input, &original)?;
                    original
                }
                None => input.clone(),
            };
            if !is_in_store(original.path()) {
                *inputs.entry(original.of_file()).or_default() += count;
            }
        }
        Ok(inputs)
    }

    fn is_own(&self, path: &Path) -> bool {
        // Nix has some files in itself, `<nix/derivation-internal.nix>` before
        // 2.27 and `«nix-internal»/…` since then.
        let is_nix = path.to_string_lossy().starts_with(['<', '«']);
        // The locks of a flake are in a file whose name says what is in it.
        is_nix || path.starts_with(self.own) || path.starts_with(&self.folder)
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

/// Returns the inputs with their states, none of which has changed since the evaluation began.
fn states_of(inputs: BTreeSet<Input>, begin: Moment) -> Result<Vec<(Input, InputState)>, String> {
    if inputs.len() > MOST_INPUTS {
        return Err(format!("{} files outside the store", inputs.len()));
    }
    let since = begin.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = i128::try_from(since.as_nanos()).unwrap_or(i128::MAX);
    let mut states = StateReader::default();
    let with_state = |input: Input| {
        let path = input.path().display();
        let state = states
            .read(&input)
            .ok_or_else(|| format!("{path} holds too much, or links to folders"))?;
        if changed_ns(&input, &state) + SLACK_NS >= since {
            return Err(format!("{path} has just changed"));
        }
        Ok((input, state))
    };
    inputs.into_iter().map(with_state).collect()
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
