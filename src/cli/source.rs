//! The options by which a command is told its tests: those of nix-build, and `--nixpkgs`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::error::Failed;
use crate::guest;
use crate::nix::{Arguments, Evaluation, Library, Nix, Nixpkgs};

#[derive(Debug, Args)]
pub struct Source {
    /// The test file, or a folder with a default.nix.
    file: PathBuf,
    /// The attribute of the file's value to take.
    #[arg(short = 'A', long = "attr", value_name = "PATH")]
    attribute: Option<String>,
    /// Pass a Nix expression to the file's function.
    #[arg(long = "arg", num_args = 2, value_names = ["NAME", "EXPR"])]
    expressions: Vec<String>,
    /// Pass a string to the file's function.
    #[arg(long = "argstr", num_args = 2, value_names = ["NAME", "STRING"])]
    strings: Vec<String>,
    /// Add to Nix's search path.
    #[arg(short = 'I', value_name = "PATH")]
    includes: Vec<String>,
    /// Set an option of Nix.
    #[arg(long = "option", num_args = 2, value_names = ["NAME", "VALUE"])]
    options: Vec<String>,
    /// Show where in the Nix code an error came from.
    #[arg(long)]
    show_trace: bool,
    /// What stands in for nixpkgs: a path, or `builtin` for the built-in guests.
    #[arg(long, value_name = "PATH|builtin")]
    nixpkgs: Option<PathBuf>,
}

/// Nix, its library, and what to evaluate.
pub struct Prepared {
    pub nix: Nix,
    pub library: Library,
    pub evaluation: Evaluation,
}

impl Source {
    pub fn prepare(&self) -> Result<Prepared, Failed> {
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
        let index = guest::index_path()?;
        Ok(Prepared {
            nix: Nix::new(&pairs(&self.options)),
            library: Library::unpack()?,
            evaluation: Evaluation {
                file: self.file.clone(),
                attribute: self.attribute.clone(),
                arguments: Arguments {
                    expressions: pairs(&self.expressions),
                    strings: pairs(&self.strings),
                    includes: self.includes.clone(),
                    show_trace: self.show_trace,
                },
                nixpkgs,
                guest_index: index.exists().then_some(index),
            },
        })
    }
}

/// clap gives the values of options that take two as one list.
fn pairs(values: &[String]) -> Vec<(String, String)> {
    values
        .chunks_exact(2)
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect()
}

/// A file of JSON.
pub fn read_json(path: &Path) -> Result<serde_json::Value, Failed> {
    let wrong =
        |error: &dyn std::fmt::Display| Failed::Usage(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    serde_json::from_str(&text).map_err(|error| wrong(&error))
}
