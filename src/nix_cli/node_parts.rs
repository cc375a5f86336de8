//! The nodes of a test as the parts of its evaluation gave them: an edited node is evaluated alone.
//!
//! The other nodes are the same if no file that was read asks for nodes, and what nixpkgs itself shows of the edited node
//! to the others (the facts) is the same.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reads::{Input, Reads};
use super::script_sources::{is_in_nixpkgs, text};
use crate::source_map::{asks_for_nodes, edited_node, node_places};

/// The parts of a test's evaluation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct NodeParts {
    /// The file that defines the nodes, as it was.
    file: PathBuf,
    text: String,
    /// The answers of the processes: lists of one part.
    answers: Vec<Value>,
    /// The inputs of all parts.
    pub reads: Reads,
}

impl NodeParts {
    /// Returns the parts, if the nodes do not depend on each other but for facts. Files for which `is_own` holds are the
    /// library's.
    pub fn of(answers: &[Value], reads: &Reads, is_own: impl Fn(&Path) -> bool) -> Option<Self> {
        let imports = reads.inputs.keys().cloned().map(Input::of_file);
        let imports: BTreeSet<PathBuf> = imports
            .filter(|input| matches!(input, Input::Import(_)))
            .map(|input| input.path().to_owned())
            .filter(|path| !is_own(path) && !is_in_nixpkgs(path))
            .collect();
        let mut defining = Vec::new();
        for path in imports {
            let (path, text) = text(&path)?;
            if asks_for_nodes(&text) {
                tracing::info!("{} may ask for nodes", path.display());
                return None;
            }
            if !node_places(&text).is_empty() {
                defining.push((path, text));
            }
        }
        let [(file, text)] = <[_; 1]>::try_from(defining).ok()?;
        if reads.positions.contains(&file) {
            return None;
        }
        Some(Self {
            file,
            text,
            answers: answers.to_vec(),
            reads: reads.clone(),
        })
    }

    /// Returns the node that was edited, if nothing else was.
    pub fn edited(&self, changed: &Input) -> Option<String> {
        let is_defining = matches!(changed, Input::Import(path) if *path == self.file);
        let (_, new) = text(&self.file).filter(|_| is_defining)?;
        edited_node(&self.text, &new)
    }

    /// Returns the answers with the new one for a node; `None` if the others may see a difference.
    pub fn with(&self, node: &str, answer: &str) -> Option<Vec<Value>> {
        let new: Value = serde_json::from_str(answer).ok()?;
        let new = &new[0];
        let mut answers = self.answers.clone();
        let mut parts = answers.iter_mut().filter_map(|answer| answer.get_mut(0));
        let part = parts.find(|part| part["nodes"].get(node).is_some())?;
        let is_seen_as_before =
            !new["facts"][node].is_null() && part["facts"][node] == new["facts"][node];
        if !is_seen_as_before {
            tracing::info!("the other nodes see that {node} has changed");
            return None;
        }
        part["nodes"][node] = new["nodes"].get(node)?.clone();
        Some(answers)
    }
}
