//! `snowglobe guest`: sets up the built-in guests.

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
}

impl GuestCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let Self::Fetch {
            packages,
            if_needed,
        } = self;
        if *if_needed && guest::is_complete(Library::packages(), packages)? {
            return Ok(ExitCode::SUCCESS);
        }
        let index = guest::fetch(&Nix::new(&[]), Library::packages(), packages, &|step| {
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
