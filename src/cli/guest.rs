//! `snowglobe guest`: sets up the built-in guests.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::error::Failed;
use crate::guest::{self, FetchRequest};
use crate::nix_cli::{Library, Nix};

#[derive(Debug, Subcommand)]
pub enum GuestCommand {
    /// Add the Debian packages of the guests, and any others, to the Nix store.
    Fetch {
        /// Further Debian packages, which tests can use as `pkgs.NAME`.
        packages: Vec<String>,
        /// Take packages from this suite of Debian, such as `trixie`; `own` is the machine's [default: as in the last fetch, or `own`].
        #[arg(long, value_name = "SUITE")]
        suite: Option<String>,
        /// Do nothing if all packages are already there.
        #[arg(long)]
        if_needed: bool,
    },
    /// Add this program to the Nix store, and write a Nix file that gives flakes
    /// this program and the guests' packages.
    Pin {
        /// The Nix file to write.
        #[arg(default_value = "snowglobe-guests.json")]
        file: PathBuf,
    },
}

impl GuestCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let nix = Nix::new(&[], |warnings| eprint!("{warnings}"));
        let (request, if_needed) = match self {
            Self::Fetch {
                packages,
                suite,
                if_needed,
            } => {
                let request = FetchRequest {
                    packages: packages.clone(),
                    suite: suite.clone(),
                };
                (request, if_needed)
            }
            Self::Pin { file } => {
                guest::pin(&nix, file)?;
                return Ok(ExitCode::SUCCESS);
            }
        };
        if *if_needed && guest::is_complete(Library::packages(), &request)? {
            return Ok(ExitCode::SUCCESS);
        }
        let index = guest::fetch(&nix, Library::packages(), &request, &|step| {
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
