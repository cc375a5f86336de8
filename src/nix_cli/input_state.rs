//! The state of an evaluation's input, and whether it is still the same.
//!
//! Sizes, inodes and times are compared first. A file whose content is the same is the same file, so that another
//! branch that is checked out and left again changes nothing.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::reads::Input;
use super::stamp::{self, Stamp, add_metadata};
use crate::digest::Digest;

/// A larger file is compared by size and times alone, in bytes.
const LARGEST: u64 = 4 << 20;

/// The state of an input when it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum InputState {
    Missing,
    File(FileState),
    /// The digest of the names and kinds of a folder's entries.
    Folder(String),
    /// The kind of what is at the path itself, and of what a link there leads to.
    Kind(Option<u32>, Option<u32>),
    Tree(Stamp),
}

/// The state of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileState {
    /// The folder that the file is in, without links.
    folder: PathBuf,
    /// The text of a link, and the path that it leads to.
    link: Option<(PathBuf, PathBuf)>,
    metadata: String,
    is_executable: bool,
    /// The digest of its content; `None` if it is large, or no regular file.
    content: Option<String>,
}

/// Reads states, and remembers which folders are links.
#[derive(Debug, Default)]
pub(super) struct StateReader {
    folders: HashMap<PathBuf, PathBuf>,
}

impl StateReader {
    /// Returns the state of an input, or `None` if it cannot be compared.
    pub fn read(&mut self, input: &Input) -> Option<InputState> {
        let path = input.path();
        match input {
            Input::Import(path) | Input::File(path) => Some(
                self.file(path, digest_of)
                    .map_or(InputState::Missing, InputState::File),
            ),
            Input::Folder(_) => listing(path).map(InputState::Folder),
            Input::Kind(_) => Some(kinds(path)),
            Input::Tree(_) => Stamp::of(path).map(InputState::Tree),
        }
    }

    /// Whether an input is still in this state.
    pub fn is_same(&mut self, input: &Input, state: &InputState) -> bool {
        let (Input::Import(path) | Input::File(path), InputState::File(before)) = (input, state)
        else {
            return self.read(input).as_ref() == Some(state);
        };
        let Some(now) = self.file(path, |_, _| None) else {
            return false;
        };
        if (&now.folder, &now.link) != (&before.folder, &before.link) {
            return false;
        }
        now.metadata == before.metadata
            || before.content.is_some()
                && now.is_executable == before.is_executable
                && self.file(path, digest_of).and_then(|now| now.content) == before.content
    }

    fn file(
        &mut self,
        path: &Path,
        content: impl Fn(&Path, &Metadata) -> Option<String>,
    ) -> Option<FileState> {
        let own = fs::symlink_metadata(path).ok()?;
        let target = fs::metadata(path).ok();
        let mut digest = Digest::default();
        for metadata in [Some(&own), target.as_ref()].into_iter().flatten() {
            add_metadata(Some(metadata), &mut digest);
        }
        let permissions = target.as_ref().map_or(0, |it| it.permissions().mode());
        Some(FileState {
            folder: self.folder_of(path),
            link: own.is_symlink().then(|| link_at(path)).flatten(),
            metadata: digest.name(),
            is_executable: permissions & 0o111 != 0,
            content: target.and_then(|metadata| content(path, &metadata)),
        })
    }

    fn folder_of(&mut self, path: &Path) -> PathBuf {
        let folder = path.parent().unwrap_or(Path::new("/"));
        if let Some(known) = self.folders.get(folder) {
            return known.clone();
        }
        let resolved = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        self.folders.insert(folder.to_owned(), resolved.clone());
        resolved
    }
}

fn link_at(path: &Path) -> Option<(PathBuf, PathBuf)> {
    Some((fs::read_link(path).ok()?, fs::canonicalize(path).ok()?))
}

/// The last change of an input, in nanoseconds since 1970; 0 if it is missing.
pub(super) fn changed_ns(input: &Input, state: &InputState) -> i128 {
    if let InputState::Tree(stamp) = state {
        return stamp.changed_ns();
    }
    let own = fs::symlink_metadata(input.path());
    let times = [own, fs::metadata(input.path())]
        .into_iter()
        .flatten()
        .map(|metadata| stamp::changed_ns(&metadata));
    times.max().unwrap_or(0)
}

fn digest_of(path: &Path, metadata: &Metadata) -> Option<String> {
    if !metadata.is_file() || metadata.len() > LARGEST {
        return None;
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).ok()?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).ok()?;
    Some(Digest::default().field(&bytes).name())
}

/// The digest of a folder's entries, or `None` if it cannot be read.
pub(super) fn listing(path: &Path) -> Option<String> {
    let mut entries: Vec<(Vec<u8>, u32)> = Vec::new();
    for entry in fs::read_dir(path).ok()? {
        let entry = entry.ok()?;
        let kind = fs::symlink_metadata(entry.path()).ok()?.mode() & KIND;
        entries.push((entry.file_name().as_bytes().to_owned(), kind));
    }
    entries.sort_unstable();
    let mut digest = Digest::default();
    for (name, kind) in &entries {
        digest.field(name).field(kind.to_le_bytes());
    }
    Some(digest.name())
}

/// The bits of a mode that say what it is: a file, a folder, a link.
const KIND: u32 = 0o170_000;

pub(super) fn kinds(path: &Path) -> InputState {
    let kind = |metadata: std::io::Result<Metadata>| metadata.ok().map(|it| it.mode() & KIND);
    InputState::Kind(kind(fs::symlink_metadata(path)), kind(fs::metadata(path)))
}
