//! Parses what an evaluation read, by what Nix prints with `-vv`.
//!
//! The library reports calls of builtins (`nix-lib/observe`). Nix itself prints the Nix files that it evaluates and
//! the sources that it copies into the store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A thing outside the Nix store that an evaluation depends on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(super) enum Input {
    /// A Nix file that was evaluated.
    Import(PathBuf),
    /// The content of a file, or the target of a link.
    File(PathBuf),
    /// The names and kinds of the entries of a folder.
    Folder(PathBuf),
    /// The kind of what is at a path, if anything.
    Kind(PathBuf),
    /// A file, or a folder with all in it.
    Tree(PathBuf),
}

/// The inputs that an evaluation read.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Reads {
    /// Each input, and how often it was read.
    #[serde(with = "as_pairs")]
    pub inputs: BTreeMap<Input, usize>,
    /// Names of environment variables.
    pub variables: BTreeSet<String>,
    /// Files whose line numbers were asked for.
    pub positions: BTreeSet<PathBuf>,
    /// Facts on the flake itself that were asked for, such as `rev`.
    pub flake_facts: BTreeSet<String>,
    /// Builtins whose results may differ each time.
    pub doubts: BTreeSet<String>,
    /// Whether Nix prints which sources it copies: the library copies one.
    prints_copies: bool,
}

/// Inputs as a list: JSON has only text for keys.
mod as_pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::Input;

    pub fn serialize<S: Serializer>(
        inputs: &BTreeMap<Input, usize>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(inputs)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<Input, usize>, D::Error> {
        Vec::<(Input, usize)>::deserialize(deserializer).map(BTreeMap::from_iter)
    }
}

/// A report of the library.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Report {
    Import,
    File,
    Folder,
    Kind,
    Tree,
    /// An entry that a filter of sources lets through.
    Entry,
    Variable,
    Position,
    Flake,
    Doubt,
}

const REPORT: &str = "trace: snowglobe-read: ";

/// Whether a line is a report of the library, which users do not see.
pub(super) fn is_report(line: &str) -> bool {
    line.starts_with(REPORT)
}

impl Reads {
    /// Reads the messages of a process of Nix. `canary` is the file that the library copies in each evaluation.
    pub fn parse(messages: &str, canary: &Path) -> Self {
        let mut reads = Self::default();
        for line in messages.lines() {
            reads.add_line(line, canary);
        }
        reads
    }

    /// Returns the reads of an evaluation that could be remembered: none so far.
    pub fn known() -> Self {
        Self {
            prints_copies: true,
            ..Self::default()
        }
    }

    /// Adds what another process read for the same answer.
    pub fn merge(&mut self, other: Self) {
        for (input, count) in other.inputs {
            let known = self.inputs.entry(input).or_default();
            *known = count.max(*known);
        }
        self.variables.extend(other.variables);
        self.positions.extend(other.positions);
        self.flake_facts.extend(other.flake_facts);
        self.doubts.extend(other.doubts);
        self.prints_copies &= other.prints_copies;
    }

    /// Returns why the evaluation cannot be remembered, if it cannot.
    pub fn doubt(&self) -> Option<String> {
        if !self.prints_copies {
            return Some("this Nix does not print which sources it copies".to_owned());
        }
        let name = self.doubts.first()?;
        Some(format!("builtins.{name} may return something else"))
    }

    fn add_line(&mut self, line: &str, canary: &Path) {
        if let Some(report) = line.strip_prefix(REPORT) {
            self.add_report(report);
        } else if let Some(file) = evaluated_file(line) {
            self.add(Input::Import(file));
        } else if let Some(source) = copied_source(line) {
            self.prints_copies |= source == canary;
            self.add(Input::Tree(source));
        }
    }

    fn add_report(&mut self, report: &str) {
        let Ok((kind, subject)) = serde_json::from_str::<(Report, String)>(report) else {
            self.doubts.insert("trace".to_owned());
            return;
        };
        let path = PathBuf::from(&subject);
        match kind {
            Report::Import => self.add(Input::Import(path)),
            Report::Folder => self.add(Input::Folder(path)),
            Report::Kind => self.add(Input::Kind(path)),
            Report::Tree => self.add(Input::Tree(path)),
            Report::Entry if path.is_dir() && !path.is_symlink() => self.add(Input::Folder(path)),
            Report::File | Report::Entry => self.add(Input::File(path)),
            Report::Variable => drop(self.variables.insert(subject)),
            Report::Position => drop(self.positions.insert(path)),
            Report::Flake => drop(self.flake_facts.insert(subject)),
            Report::Doubt => drop(self.doubts.insert(subject)),
        }
    }

    /// Adds an input.
    pub fn add(&mut self, input: Input) {
        *self.inputs.entry(input).or_default() += 1;
    }
}

impl Input {
    pub fn path(&self) -> &Path {
        match self {
            Self::Import(path)
            | Self::File(path)
            | Self::Folder(path)
            | Self::Kind(path)
            | Self::Tree(path) => path,
        }
    }

    /// Returns the input with the file that a folder stands for in an `import`.
    pub fn of_file(self) -> Self {
        match self {
            Self::Import(path) if path.is_dir() => Self::Import(path.join("default.nix")),
            other => other,
        }
    }

    /// Returns the same kind of input at another path.
    pub fn at(&self, path: PathBuf) -> Self {
        match self {
            Self::Import(_) => Self::Import(path),
            Self::File(_) => Self::File(path),
            Self::Folder(_) => Self::Folder(path),
            Self::Kind(_) => Self::Kind(path),
            Self::Tree(_) => Self::Tree(path),
        }
    }
}

/// The file that a line names: with `-v`, Nix prints each file that it evaluates.
pub(super) fn evaluated_file(line: &str) -> Option<PathBuf> {
    let file = line.strip_prefix("evaluating file '")?.strip_suffix('\'')?;
    Some(PathBuf::from(file))
}

fn copied_source(line: &str) -> Option<PathBuf> {
    let (path, _) = line
        .strip_prefix("copied source '")?
        .rsplit_once("' -> '")?;
    Some(PathBuf::from(path))
}

/// Whether a path is in the store, where nothing changes. What is not there may come.
pub(super) fn is_in_store(path: &Path) -> bool {
    let Ok(rest) = path.strip_prefix("/nix/store") else {
        return false;
    };
    let object = rest.components().next();
    object.is_some_and(|object| {
        Path::new("/nix/store")
            .join(object)
            .symlink_metadata()
            .is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_and_messages_of_nix_are_read() {
        let messages = r#"evaluating file '/t/a.nix'
trace: the user's own
trace: snowglobe-read: ["import","/t/a.nix"]
trace: snowglobe-read: ["file","/t/it's\n.txt"]
trace: snowglobe-read: ["variable","HOME"]
copied source '/t/x' -> '/nix/store/y-x'
copied source '/lib/canary' -> '/nix/store/y-canary'
"#;
        let reads = Reads::parse(messages, Path::new("/lib/canary"));
        let inputs: Vec<_> = reads.inputs.iter().collect();
        let path = PathBuf::from;
        assert_eq!(
            inputs,
            [
                (&Input::Import(path("/t/a.nix")), &2),
                (&Input::File(path("/t/it's\n.txt")), &1),
                (&Input::Tree(path("/lib/canary")), &1),
                (&Input::Tree(path("/t/x")), &1),
            ]
        );
        assert!(reads.variables.contains("HOME"));
        assert_eq!(reads.doubt(), None);
    }

    #[test]
    fn what_cannot_be_known_is_a_doubt() {
        let doubt = |messages: &str| Reads::parse(messages, Path::new("/lib/canary")).doubt();
        assert!(doubt("").is_some());
        let copied = "copied source '/lib/canary' -> '/nix/store/y-canary'\n";
        assert_eq!(doubt(copied), None);
        for report in [
            "[\"doubt\",\"currentTime\"]",
            "[\"doubt\",\"new\"]",
            "[\"rest\"]",
            "",
        ] {
            assert!(doubt(&format!("{copied}{REPORT}{report}\n")).is_some());
        }
    }
}
