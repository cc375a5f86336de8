//! The texts of the files that scripts come from: an edit of a script's text needs no evaluation.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reads::Input;
use super::working_tree::WorkingTree;
use crate::source_map::{ScriptEdit, may_be_script, only_defines_scripts};

/// A larger file holds no script that is edited by hand, in bytes.
const LARGEST: u64 = 256 << 10;

/// The files with scripts that an evaluation read, as they were.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct ScriptSources {
    /// Nix files of the user's that define scripts, or ask for them.
    nix: Vec<(PathBuf, String)>,
    /// Python files that were read once.
    python: Vec<(PathBuf, String)>,
    /// Files whose line numbers were asked for: any edit may change the answer.
    positions: Vec<PathBuf>,
}

impl ScriptSources {
    /// Returns the files among the inputs, with how often each was read. `positions` may be in the copy of a flake.
    pub fn of(
        inputs: &BTreeMap<Input, usize>,
        positions: &BTreeSet<PathBuf>,
        tree: Option<&WorkingTree>,
    ) -> Self {
        let original = |path: &PathBuf| {
            let in_tree = tree.and_then(|tree| tree.in_tree(path));
            in_tree.unwrap_or_else(|| path.clone())
        };
        let mut sources = Self {
            positions: positions.iter().map(original).collect(),
            ..Self::default()
        };
        for (input, count) in inputs {
            match input {
                Input::Import(path) if !is_in_nixpkgs(path) => {
                    let found = text(path).filter(|(_, text)| text.contains("testScript"));
                    sources.nix.extend(found);
                }
                Input::File(path)
                    if *count == 1 && path.extension().is_some_and(|it| it == "py") =>
                {
                    sources.python.extend(text(path));
                }
                _ => {}
            }
        }
        sources
    }

    /// Returns an answer with the script as it is after the edit of a file; `None` if more than a script may have
    /// changed.
    pub fn after_edit(&self, changed: &Input, answer: &str) -> Option<String> {
        let path = changed.path();
        let others = || self.nix.iter().filter(|(other, _)| other != path);
        if !others().all(|(_, text)| only_defines_scripts(text)) {
            return None;
        }
        let (_, new) = text(path)?;
        let edit = match changed {
            Input::Import(path) if !self.positions.contains(path) => {
                let (_, old) = self.nix.iter().find(|(known, _)| known == path)?;
                ScriptEdit::of_nix(old, &new)?
            }
            Input::File(path) => self.edit_of_python(path, &new)?,
            _ => return None,
        };
        let mut items: Vec<Value> = serde_json::from_str(answer).ok()?;
        let is_elsewhere = |script: &str| others().any(|(_, text)| may_be_script(text, script));
        let mut edited = 0;
        for item in &mut items {
            let Some(script) = item.get_mut("script") else {
                continue;
            };
            let Some(text) = script.as_str().and_then(|text| edit.apply(text)) else {
                continue;
            };
            if script.as_str().is_some_and(is_elsewhere) {
                return None;
            }
            *script = Value::String(text);
            edited += 1;
        }
        let has_scripts = items.iter().any(|item| item.get("script").is_some());
        // Of several equal scripts, it does not show which is meant.
        if edited > 1 || has_scripts && edited == 0 {
            return None;
        }
        serde_json::to_string(&items).ok()
    }

    fn edit_of_python(&self, path: &Path, new: &str) -> Option<ScriptEdit> {
        let (_, old) = self.python.iter().find(|(known, _)| known == path)?;
        let mut same = self.python.iter().filter(|(_, text)| text == old);
        if same.next().is_some() && same.next().is_some() {
            return None;
        }
        let name = path.file_name()?.to_str()?;
        let mut naming = self.nix.iter().filter(|(_, text)| text.contains(name));
        let (_, nix) = naming.next()?;
        if naming.next().is_some() || !only_defines_scripts(nix) {
            return None;
        }
        ScriptEdit::of_file(nix, name, old, new)
    }
}

/// Returns a file with its text; `None` if it is no text, or large.
pub(super) fn text(path: &Path) -> Option<(PathBuf, String)> {
    let metadata = fs::metadata(path).ok()?;
    let is_small = metadata.is_file() && metadata.len() <= LARGEST;
    let text = is_small.then(|| fs::read_to_string(path).ok())??;
    Some((path.to_owned(), text))
}

/// Whether a file is one of a nixpkgs, whose library asks for scripts and uses them for nothing else.
pub(super) fn is_in_nixpkgs(path: &Path) -> bool {
    let is_nixpkgs = |folder: &Path| folder.join("nixos/modules/module-list.nix").exists();
    let is_test = path.components().any(|part| part.as_os_str() == "tests");
    !is_test && path.ancestors().skip(1).any(is_nixpkgs)
}
