//! `snowglobe guest`: sets up the built-in guests.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::error::Failed;
use crate::guest;
use crate::nix::{Library, Nix};

#[derive(Debug, Subcommand)]
pub enum GuestCommand {
    /// Bring the guests' Debian packages into the Nix store, and any further ones.
    Fetch {
        /// More Debian packages, for tests to use as `pkgs.NAME`.
        packages: Vec<String>,
        /// Do nothing where everything is there already.
        #[arg(long)]
        if_needed: bool,
    },
    /// Put this program into the Nix store, and write a file by which flakes
    /// find it and the guests' packages.
    Pin {
        /// The file.
        #[arg(default_value = "snowglobe-guests.json")]
        file: PathBuf,
    },
}

impl GuestCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let nix = Nix::new(&[], |remarks| eprint!("{remarks}"));
        let (packages, if_needed) = match self {
            Self::Fetch {
                packages,
                if_needed,
            } => (packages, if_needed),
            Self::Pin { file } => {
                guest::pin(&nix, file)?;
                return Ok(ExitCode::SUCCESS);
            }
        };
        if *if_needed && guest::is_complete(Library::packages(), packages)? {
            return Ok(ExitCode::SUCCESS);
        }
        let index = guest::fetch(&nix, Library::packages(), packages, &|step| {
            eprintln!("guest: {step}");
        })?;
        eprintln!(
            "guest: {} Debian packages and {} npm package(s) are in the store",
            index.debs.len(),
            index.npm.len()
        );
        Ok(ExitCode::SUCCESS)
    }
}
