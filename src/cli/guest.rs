//! `snowglobe guest`: sets up what the built-in guests and NixOS machines are made of.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::error::{Failed, print_to_stderr};
use super::source::{SourceOptions, on_this_thread};
use crate::config::Config;
use crate::guest::{self, FetchRequest};
use crate::model::manifest::SnapshotSafety;
use crate::nix_cli::{Evaluation, Library, Nix, PackageSource, buildable};
use crate::runner::TestSelection;

#[derive(Debug, Subcommand)]
pub enum GuestCommand {
    /// Add the Debian packages of the guests, and any others, to the Nix store.
    // The options that select tests are of use for a test file only.
    #[command(mut_group("SourceOptions", |group| group.requires("tests")))]
    Fetch {
        /// Further Debian packages, which tests can use as `pkgs.NAME`.
        #[arg(id = "further", value_name = "PACKAGES")]
        packages: Vec<String>,
        /// Take packages from this suite of Debian, such as `trixie`; `own` is the machine's [default: as in the last fetch, or `own`].
        #[arg(long, value_name = "SUITE")]
        suite: Option<String>,
        /// Fetch guest `tiny` of this system, such as `aarch64-linux`, and the packages for it.
        #[arg(long, conflicts_with = "tests")]
        system: Option<String>,
        /// Do nothing if all packages are already there.
        #[arg(long)]
        if_needed: bool,
        /// Fetch what the NixOS machines of this test file need for `--packages debian`.
        #[arg(long = "for", value_name = "FILE", conflicts_with = "if_needed")]
        tests: Option<PathBuf>,
        #[command(flatten)]
        source: Box<SourceOptions>,
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
        let nix = Nix::new(&[], |warnings| print_to_stderr(warnings.trim_end()));
        match self {
            Self::Fetch {
                tests: Some(file),
                packages,
                suite,
                source,
                ..
            } => fetch_for_tests(file, packages, suite.as_deref(), source),
            Self::Fetch {
                packages,
                suite,
                system,
                if_needed,
                ..
            } => {
                let request = FetchRequest {
                    packages: packages.clone(),
                    suite: suite.clone(),
                    system: system.clone(),
                };
                if *if_needed && guest::is_complete(Library::packages(), &request)? {
                    return Ok(ExitCode::SUCCESS);
                }
                fetch_guests(&nix, &request)
            }
            Self::Pin { file } => {
                guest::pin(&nix, file)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn show_step(step: &str) {
    print_to_stderr(format_args!("guest: {step}"));
}

fn fetch_guests(nix: &Nix, request: &FetchRequest) -> Result<ExitCode, Failed> {
    let index = guest::fetch(nix, Library::packages(), request, &show_step)?;
    print_to_stderr(format_args!(
        "guest: {} Debian packages and {} npm package(s) are in the store",
        index.debs.len(),
        index.npm.len()
    ));
    for (system, foreign) in &index.foreign {
        let packages = foreign.debs.len();
        print_to_stderr(format_args!(
            "guest: {packages} Debian packages of {system} are in the store"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn fetch_for_tests(
    file: &Path,
    packages: &[String],
    suite: Option<&str>,
    source: &SourceOptions,
) -> Result<ExitCode, Failed> {
    let request = FetchRequest {
        packages: packages.to_vec(),
        suite: suite.or(source.packages_suite()).map(str::to_owned),
        system: None,
    };
    let TestSelection {
        nix,
        library,
        evaluation,
        ..
    } = source.select_with_own_packages(file, &Config::of_folder(Path::new("."))?)?;
    // `auto` takes what is fetched.
    let snapshot_safety = match evaluation.snapshot_safety {
        SnapshotSafety::Auto => SnapshotSafety::Virtiofs,
        other => other,
    };
    let derivations = |packages| -> Result<Vec<PathBuf>, Failed> {
        let evaluation = Evaluation {
            packages: PackageSource::Debian(packages),
            snapshot_safety,
            ..evaluation.clone()
        };
        let found = on_this_thread(buildable(&nix, &library, &evaluation))?;
        Ok(found.into_iter().map(|found| found.derivation).collect())
    };
    let fetched = guest::fetch_for(
        &nix,
        Library::debian_packages(),
        &request,
        source.packages_table(),
        derivations,
        &show_step,
    )?;
    print_to_stderr(format_args!(
        "guest: {} Debian packages for NixOS machines are in the store",
        fetched.packages
    ));
    if !fetched.older.is_empty() {
        let older: Vec<String> = fetched.older.iter().map(ToString::to_string).collect();
        print_to_stderr(format_args!(
            "guest: Debian has older versions of these packages than nixpkgs, whose modules may want the newer: {}",
            older.join(", ")
        ));
    }
    if fetched.unknown.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failed::UnknownPackages(fetched.unknown))
}
