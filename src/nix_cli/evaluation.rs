//! The subject of an evaluation, as values.

use std::fmt;
use std::path::PathBuf;

use super::CheckOptions;
use super::flake::Flake;
use crate::model::manifest::{BackendChoice, SnapshotSafety};

/// The replacement of nixpkgs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nixpkgs {
    /// No replacement: the file itself and `-I` decide.
    FromFile,
    Builtin,
    Path(PathBuf),
}

/// Where the packages of nixpkgs come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PackageSource {
    /// As nixpkgs says: built, or from a binary cache.
    #[default]
    Nixpkgs,
    Debian(DebianPackages),
}

/// Debian's packages in the place of nixpkgs' own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebianPackages {
    /// The index of what is in the store.
    pub index: PathBuf,
    /// The names of all packages of the suite.
    pub names: PathBuf,
    /// The user's own table, beside ours.
    pub table: Option<PathBuf>,
}

/// The options of nix-build that the user gave.
#[derive(Debug, Clone, Default)]
pub struct Arguments {
    /// `--arg NAME EXPRESSION`
    pub expressions: Vec<(String, String)>,
    /// `--argstr NAME STRING`
    pub strings: Vec<(String, String)>,
    /// `-I`
    pub includes: Vec<String>,
    pub show_trace: bool,
}

/// Where tests are to be found.
#[derive(Debug, Clone)]
pub enum TestSource {
    /// A file, or a folder with a default.nix.
    File(PathBuf),
    Flake(Flake),
}

impl fmt::Display for TestSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(formatter, "{}", file.display()),
            Self::Flake(flake) => formatter.write_str(&flake.reference),
        }
    }
}

/// For whom the tests are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    #[default]
    Script,
    /// With what a test sets for runs by hand.
    ByHand,
}

/// The way to a script whose text alone was edited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ScriptEdits {
    /// The script is made from the text. Its derivation and the manifest's file stay those of the script before.
    #[default]
    FromText,
    /// The script is evaluated, as all edits of other things are.
    Evaluated,
}

/// One evaluation.
#[derive(Debug, Clone)]
pub struct Evaluation {
    pub place: TestSource,
    /// Each `-A`, or what follows the `#` of a flake, as the user wrote it; none for all that there is.
    pub attributes: Vec<String>,
    /// The attribute paths of the chosen tests among those that `attributes` lead to; empty for all tests.
    pub chosen: Vec<String>,
    /// Whether the tests are some of several: errors name the test then.
    pub is_part: bool,
    pub arguments: Arguments,
    pub form: Form,
    pub snapshot_safety: SnapshotSafety,
    /// Whether NixOS machines can be switched to another system.
    pub is_switchable: bool,
    /// The kind of all machines; `None` for the kinds that their nodes ask for.
    pub backend: Option<BackendChoice>,
    pub nixpkgs: Nixpkgs,
    pub packages: PackageSource,
    /// The memory that is filled before garbage is looked for, in MiB; None for what one test of nixpkgs needs.
    pub heap_mib: Option<u64>,
    /// The names of the nodes of the only test, for each of the processes that evaluate it; empty for one process that
    /// evaluates all. Only what is said of manifests is made of parts.
    pub parts: Vec<Vec<String>>,
    pub edits: ScriptEdits,
    /// The index of the built-in guests, if they are set up.
    pub guest_index: Option<PathBuf>,
}

/// A request to the library's entry.
#[derive(Debug, Clone, Copy)]
pub(super) enum Want<'a> {
    /// The tests' names and nodes; no machine is evaluated.
    Names,
    Manifest,
    /// The part of a manifest for these nodes of the only test.
    Part(&'a [String]),
    /// The derivations that run the tests.
    Check(&'a CheckOptions),
    /// The derivations that build the machines, or the one that the file holds.
    Build,
}

impl Want<'_> {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Names => "names",
            Self::Manifest => "manifest",
            Self::Part(_) => "part",
            Self::Check(_) => "check",
            Self::Build => "build",
        }
    }
}
