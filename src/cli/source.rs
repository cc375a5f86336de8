//! The options that select tests: those of nix-build, and `--nixpkgs`.

use std::path::PathBuf;

use clap::Args;

use super::error::Failed;
use crate::guest;
use crate::nix_cli::{
    Arguments, EvalError, Evaluation, Form, Library, MachineVariant, Nix, Nixpkgs, TestSource,
};
use crate::runner::TestSelection;

#[derive(Debug, Args)]
pub struct Source {
    /// The test file, a folder with a default.nix, or FLAKE#ATTRIBUTE.
    file: PathBuf,
    /// Select an attribute of the file's value.
    #[arg(short = 'A', long = "attr", value_name = "PATH")]
    attribute: Option<String>,
    /// Pass a Nix expression to the file's function.
    #[arg(long = "arg", num_args = 2, value_names = ["NAME", "EXPR"])]
    expressions: Vec<String>,
    /// Pass a string to the file's function.
    #[arg(long = "argstr", num_args = 2, value_names = ["NAME", "STRING"])]
    strings: Vec<String>,
    /// Add a path to Nix's search path.
    #[arg(short = 'I', value_name = "PATH")]
    includes: Vec<String>,
    /// Set a Nix option.
    #[arg(long = "option", num_args = 2, value_names = ["NAME", "VALUE"])]
    options: Vec<String>,
    /// Accepted for compatibility: evaluations are always impure, as with nix-build.
    #[arg(long = "impure")]
    _impure: bool,
    /// Show the stack trace of Nix errors.
    #[arg(long)]
    show_trace: bool,
    /// Use this nixpkgs: a path, or `builtin` for the built-in guests.
    #[arg(long, value_name = "PATH|builtin")]
    nixpkgs: Option<PathBuf>,
    /// Build NixOS machines with a store image and without shared folders, so that checkpoints can save them (nixpkgs 23.05 or newer).
    #[arg(long)]
    snapshot_safe: bool,
}

/// Waits for Nix where nothing else is to be done meanwhile: threads would
/// take a part of the time of a short evaluation.
pub fn on_this_thread<T>(work: impl Future<Output = Result<T, EvalError>>) -> Result<T, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failed::host("cannot wait for Nix"))?;
    Ok(runtime.block_on(work)?)
}

impl Source {
    pub fn select(&self) -> Result<TestSelection, Failed> {
        let nixpkgs = match &self.nixpkgs {
            None => Nixpkgs::FromFile,
            Some(name) if name.as_os_str() == "builtin" => Nixpkgs::Builtin,
            Some(path) if path.join("default.nix").is_file() => Nixpkgs::Path(path.clone()),
            Some(path) => {
                return Err(Failed::Usage(format!(
                    "--nixpkgs: {} is no nixpkgs: it has no default.nix",
                    path.display()
                )));
            }
        };
        let library = Library::unpack()?;
        if let Some(reason) = library.cache_fault() {
            eprintln!(
                "warning: the cache cannot be used ({reason}): nothing is remembered for the next run"
            );
        }
        // Without a home folder the guests cannot be set up.
        let index = guest::index_path().ok();
        let (place, attribute) = self.place()?;
        Ok(TestSelection {
            nix: Nix::new(&pairs(&self.options), |warnings| eprint!("{warnings}")),
            library,
            evaluation: Evaluation {
                place,
                attribute,
                arguments: Arguments {
                    expressions: pairs(&self.expressions),
                    strings: pairs(&self.strings),
                    includes: self.includes.clone(),
                    show_trace: self.show_trace,
                },
                form: Form::default(),
                machines: if self.snapshot_safe {
                    MachineVariant::SnapshotSafe
                } else {
                    MachineVariant::AsTheyAre
                },
                nixpkgs,
                guest_index: index.filter(|index| index.exists()),
            },
        })
    }

    /// A name with a `#`, or with the scheme of a flake's reference, is no file's.
    fn place(&self) -> Result<(TestSource, Option<String>), Failed> {
        let file = || (TestSource::File(self.file.clone()), self.attribute.clone());
        let Some(text) = self.file.to_str().filter(|_| !self.file.exists()) else {
            return Ok(file());
        };
        let (reference, attribute) = match text.split_once('#') {
            Some((reference, attribute)) => (reference, Some(attribute)),
            None if is_reference(text) => (text, None),
            None => return Ok(file()),
        };
        if self.attribute.is_some() && attribute.is_some() {
            return Err(Failed::Usage(format!(
                "{text} names an attribute already: leave -A out"
            )));
        }
        let attribute = attribute
            .filter(|attribute| !attribute.is_empty())
            .map(str::to_owned);
        let place = TestSource::Flake(absolute_reference(reference)?);
        Ok((place, attribute.or_else(|| self.attribute.clone())))
    }
}

/// Whether it begins as references of flakes do.
fn is_reference(text: &str) -> bool {
    [
        "path:",
        "git+",
        "github:",
        "gitlab:",
        "sourcehut:",
        "flake:",
        "tarball+",
        "hg+",
    ]
    .iter()
    .any(|scheme| text.starts_with(scheme))
}

/// A reference to a folder in Nix's own form: it takes no relative one here.
fn absolute_reference(reference: &str) -> Result<String, Failed> {
    let (scheme, folder) = match reference.strip_prefix("path:") {
        Some(folder) => ("path:", folder),
        None => ("", reference),
    };
    let is_folder = folder.is_empty() || folder.starts_with(['.', '/', '?']);
    if scheme.is_empty() && !is_folder {
        return Ok(reference.to_owned());
    }
    let (folder, parameters) = match folder.split_once('?') {
        Some((folder, parameters)) => (folder, format!("?{parameters}")),
        None => (folder, String::new()),
    };
    let folder = if folder.is_empty() { "." } else { folder };
    let absolute = std::fs::canonicalize(folder)
        .map_err(|error| Failed::Usage(format!("the flake {folder}: {error}")))?;
    Ok(format!("{scheme}{}{parameters}", absolute.display()))
}

/// clap gives the values of options that take two as one list.
fn pairs(values: &[String]) -> Vec<(String, String)> {
    values
        .chunks_exact(2)
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect()
}
