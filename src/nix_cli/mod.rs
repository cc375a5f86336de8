//! Shells out to Nix: evaluates test files, builds what they need, reads its log.

mod build;
mod cache;
mod derivation_file;
mod derivations;
mod entry_command;
mod eval;
mod eval_error;
mod evaluation;
mod flake;
mod git_hint;
mod imports;
mod input_state;
mod instantiate;
mod library;
mod log;
mod message;
mod moment;
mod node_parts;
mod package_hint;
mod question;
mod reads;
mod script_sources;
mod stamp;
mod working_tree;

pub use build::{BuildError, FailedBuilds, realise, realise_all};
pub use derivation_file::{Derivation, derivations_below, name_of};
pub use derivations::{
    CheckOptions, NamedDerivation, build_log, buildable, checks, is_built, needed_by,
};
pub use eval::{Test, TestNames, evaluate, list};
pub use eval_error::EvalError;
pub use evaluation::{
    Arguments, DebianPackages, Evaluation, Form, Nixpkgs, PackageSource, ScriptEdits, TestSource,
};
pub use flake::{Flake, NO_UPDATE};
pub use imports::imports;
pub use library::{Library, LibraryError};
pub use package_hint::names_beside;

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::unistd::geteuid;

/// How Nix's programs are called on this machine.
#[derive(Debug, Clone)]
pub struct Nix {
    options: Vec<String>,
    print: fn(&str),
}

impl Nix {
    /// Adapts to the host, and passes `options` (`--option NAME VALUE`) on. Whole lines
    /// of the warnings and traces of evaluations go to `print`.
    #[must_use]
    pub fn new(options: &[(String, String)], print: fn(&str)) -> Self {
        let mut all = Vec::new();
        if builds_without_accounts() {
            all.extend(["--option", "build-users-group", ""].map(str::to_owned));
        }
        for (name, value) in options {
            all.extend(["--option".to_owned(), name.clone(), value.clone()]);
        }
        Self {
            options: all,
            print,
        }
    }

    fn warn(&self, warnings: &str) {
        if !warnings.is_empty() {
            (self.print)(warnings);
        }
    }

    /// One of Nix's programs, ready for further arguments.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options);
        command
    }
}

/// Root without the daemon builds by itself. Without a group of
/// accounts to build with (as after a plain installation from Debian), Nix
/// needs an option to do without one.
fn builds_without_accounts() -> bool {
    let daemon = Path::new("/nix/var/nix/daemon-socket/socket").exists()
        || std::env::var("NIX_REMOTE").is_ok_and(|remote| !remote.is_empty());
    geteuid().is_root() && !daemon && !has_build_group()
}

/// Whether Nix was installed with accounts to build with. The file is read
/// where Nix's installers write them: the C library would load all of its name
/// services for the question, which is a good part of what this program adds
/// to a short evaluation.
fn has_build_group() -> bool {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    groups.lines().any(|line| line.starts_with("nixbld:"))
}
