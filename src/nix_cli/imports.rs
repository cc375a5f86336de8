//! The files that a test file is made of: itself, and what it and its imports name by their paths.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rnix::ast::{self, InterpolPart};
use rowan::ast::AstNode;

use super::entry_command::test_file;
use super::eval_error::EvalError;
use super::evaluation::{Evaluation, TestSource};
use super::working_tree::flake_file;

/// More is a tree like nixpkgs, not a test that is being written.
const MOST_FILES: usize = 500;

/// Files and folders that a change of makes another test, as far as the text
/// of the Nix files tells; the test's file is among them. Nothing in the store
/// is, which never changes.
///
/// # Errors
/// Returns an error if there is no such file on this machine.
pub fn imports(evaluation: &Evaluation) -> Result<BTreeSet<PathBuf>, EvalError> {
    let first = match &evaluation.place {
        TestSource::File(file) => test_file(file)?,
        TestSource::Flake(flake) => flake_file(&flake.reference),
    };
    if !first.is_file() {
        return Err(EvalError::NoFile(first));
    }
    let mut found = BTreeSet::new();
    let mut waiting = vec![first];
    while let Some(path) = waiting.pop() {
        let path = plain(&path);
        if path.starts_with("/nix/store")
            || found.len() >= MOST_FILES
            || !found.insert(path.clone())
        {
            continue;
        }
        if path.is_dir() {
            waiting.push(path.join("default.nix"));
        } else if let Some(text) = nix_text(&path) {
            waiting.extend(paths(&path, &text));
        }
    }
    Ok(found)
}

fn nix_text(path: &Path) -> Option<String> {
    let is_nix = path.extension().is_some_and(|extension| extension == "nix");
    is_nix.then(|| fs::read_to_string(path).ok()).flatten()
}

/// The paths that the text of a Nix file names, and the folder of one that is computed.
fn paths(file: &Path, text: &str) -> Vec<PathBuf> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let nodes = rnix::Root::parse(text).tree().syntax().descendants();
    let literals = nodes.filter_map(ast::Path::cast);
    let named = literals.filter_map(|literal| {
        let parts = literal.parts();
        let InterpolPart::Literal(content) = parts.first()? else {
            return None;
        };
        let text = content.text();
        let known = if parts.len() == 1 {
            text
        } else {
            &text[..=text.rfind('/')?]
        };
        if literal.is_search() {
            return None;
        }
        Some(match known.strip_prefix("~/") {
            Some(rest) => PathBuf::from(std::env::var_os("HOME")?).join(rest),
            None => folder.join(known),
        })
    });
    named.collect()
}

/// Without `.` and `..`, as changes are reported.
fn plain(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use crate::model::manifest::SnapshotSafety;
    use crate::nix_cli::{Arguments, Form, Nixpkgs, PackageSource, ScriptEdits};

    use super::*;

    #[test]
    fn imports_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("machine")).unwrap();
        let write = |name: &str, text: &str| fs::write(root.join(name), text).unwrap();
        write(
            "test.nix",
            "import ./machine { script = ./script.py; a = ./none.nix; }",
        );
        write("machine/default.nix", "{ ... }: import ../test.nix");
        write("script.py", "");
        let evaluation = Evaluation {
            place: TestSource::File(root.join("test.nix")),
            attributes: Vec::new(),
            chosen: Vec::new(),
            is_part: false,
            heap_mib: None,
            parts: Vec::new(),
            arguments: Arguments::default(),
            form: Form::default(),
            snapshot_safety: SnapshotSafety::default(),
            is_switchable: false,
            nixpkgs: Nixpkgs::Builtin,
            packages: PackageSource::Nixpkgs,
            backend: None,
            edits: ScriptEdits::default(),
            guest_index: None,
        };
        let names = [
            "machine",
            "machine/default.nix",
            "none.nix",
            "script.py",
            "test.nix",
        ];
        let expected: BTreeSet<PathBuf> = names.iter().map(|name| root.join(name)).collect();
        assert_eq!(imports(&evaluation).unwrap(), expected);
    }
}
