//! A file that an editor has open, and the scripts in it.

use std::fs;
use std::path::{Path, PathBuf};

use lsp_types::Url;

use super::known_tests::{KnownTests, ScriptFacts};
use crate::bounded_file::read_text;
use crate::language::assist::WrittenScript;
use crate::language::check::{TestContext, Toggle};
use crate::model::manifest::python_name;
use crate::source_map::{NodePlace, OpenScript, node_places, open_scripts};

/// The largest Nix file that is looked at beside a script, and how many of them.
const MOST_BYTES: u64 = 4 << 20;
const MOST_FILES: usize = 500;

/// A file in the editor.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub url: Url,
    pub text: String,
    /// The Nix file of the tests.
    pub test_file: PathBuf,
    path: PathBuf,
    kind: FileKind,
    /// Whether the file was the whole script of a test when that was evaluated: no other file defines names then.
    is_whole_script: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    Nix,
    /// A file that a test reads as its script, or a part of it.
    Script,
}

/// A script of an open file, with the facts on its tests.
#[derive(Debug)]
pub(super) struct ScriptView {
    pub script: OpenScript,
    pub facts: ScriptFacts,
    /// The context with the machines that the file names, if no evaluation does.
    pub guess: TestContext,
}

impl OpenFile {
    /// A file of the editor; `None` if it has no test's script.
    pub fn new(url: Url, text: String) -> Option<Self> {
        let path = url.to_file_path().ok()?;
        let (kind, test_file) = match path.extension()?.to_str()? {
            "nix" => (FileKind::Nix, path.clone()),
            "py" => (FileKind::Script, reader_of(&path)?),
            _ => return None,
        };
        Some(Self {
            url,
            text,
            test_file,
            path,
            kind,
            is_whole_script: kind == FileKind::Nix,
        })
    }

    /// Takes note of an evaluation of the tests, which has read the file as it is saved.
    pub fn compare(&mut self, known: &KnownTests) {
        if self.kind == FileKind::Script {
            let saved = read_text(&self.path, MOST_BYTES).unwrap_or_default();
            self.is_whole_script = known.text.scripts.contains(&saved);
        }
    }

    /// Returns the scripts in the file, and their tests as they are known.
    pub fn views(&self, known: &KnownTests) -> Vec<ScriptView> {
        let (scripts, nodes) = match self.kind {
            FileKind::Nix => (open_scripts(&self.text, &known.text), self.nodes()),
            FileKind::Script => (vec![OpenScript::of_file(&self.text)], Vec::new()),
        };
        let views = scripts.into_iter().map(|script| {
            let mut facts = known.facts(&script.evaluated, &nodes);
            let is_placed = self.kind == FileKind::Script || !script.evaluated.is_empty();
            if known.text.scripts.is_empty() || !self.is_whole_script || !is_placed {
                // Other files, and other parts of the script, may define names.
                facts.parts.lint = Toggle::Off;
            }
            let mut guess = facts.context.clone();
            if guess.machines.is_none() && !nodes.is_empty() {
                let names = nodes.iter().map(|node| python_name(&node.name));
                guess.machines = Some(names.collect());
            }
            ScriptView {
                script,
                facts,
                guess,
            }
        });
        views.collect()
    }

    /// The nodes that the file defines.
    pub fn nodes(&self) -> Vec<NodePlace> {
        match self.kind {
            FileKind::Nix => node_places(&self.text),
            FileKind::Script => Vec::new(),
        }
    }

    /// Whether the file is a Nix file that may define tests.
    pub fn may_have_tests(&self) -> bool {
        self.kind == FileKind::Script || self.text.contains("testScript")
    }
}

impl ScriptView {
    /// The script for those who help to write it.
    pub fn written(&self) -> WrittenScript<'_> {
        WrittenScript {
            text: &self.script.text,
            context: &self.guess,
            units: &self.facts.units,
        }
    }
}

/// Returns the Nix file that reads a file of Python: one in its folder, or in the folder above.
fn reader_of(script: &Path) -> Option<PathBuf> {
    let name = script.file_name()?.to_str()?;
    script.ancestors().skip(1).take(2).find_map(|folder| {
        let mut files: Vec<PathBuf> = fs::read_dir(folder)
            .ok()?
            .take(MOST_FILES)
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|it| it == "nix"))
            .collect();
        files.sort();
        files.into_iter().find(|file| {
            let text = read_text(file, MOST_BYTES).unwrap_or_default();
            text.contains("testScript") && text.contains(&format!("/{name}"))
        })
    })
}
