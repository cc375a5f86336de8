//! The options that select tests: those of nix-build, and `--nixpkgs`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use nix::unistd::geteuid;

use super::error::{Failed, print_to_stderr};
use super::flake_reference::{absolute_reference, is_reference};
use crate::config::Config;
use crate::container::has_user_namespaces;
use crate::guest;
use crate::model::manifest::{BackendChoice, SnapshotSafety};
use crate::nix_cli::{
    self, Arguments, Evaluation, Flake, Form, Library, NO_UPDATE, Nix, Nixpkgs, PackageSource,
    ScriptEdits, Test, TestSource,
};
use crate::runner::TestSelection;

/// The variable that names the kind of all machines, if `--backend` is not given.
const BACKEND_VARIABLE: &str = "SNOWGLOBE_BACKEND";

#[derive(Debug, Args)]
pub struct Source {
    /// The test file, a folder with a default.nix, or FLAKE#ATTRIBUTE.
    file: PathBuf,
    #[command(flatten)]
    options: SourceOptions,
}

/// All but the file. clap knows a group of them by the name of the type, if none is in a type of its own.
#[derive(Debug, Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an option without a value"
)]
pub struct SourceOptions {
    /// Select an attribute of the file's value. May be repeated.
    #[arg(short = 'A', long = "attr", value_name = "PATH")]
    attributes: Vec<String>,
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
    /// Build NixOS machines whose state checkpoints can save, without folders over 9p: with the host's store over virtiofs, which needs QEMU 8.2, with a store image, or `auto` for the first one that works (nixpkgs 23.05 or newer) [default: `snapshot-safe` of snowglobe.toml, `auto` in `watch` and `debug`, or `off`].
    #[arg(long, value_enum, value_name = "auto|image|virtiofs|off", num_args = 0..=1, require_equals = true, default_missing_value = "auto")]
    snapshot_safe: Option<StoreKind>,
    /// Run machines as virtual machines, as containers, or as containers if nothing speaks against it [default: `$SNOWGLOBE_BACKEND`, `backend` of snowglobe.toml, what a node's `virtualisation.backend` says, or `vm`].
    #[arg(long, value_enum, value_name = "vm|container|auto")]
    backend: Option<MachineKind>,
    /// Take the packages of NixOS machines from Debian instead of a binary cache: `debian`, or `debian:SUITE` [default suite: that of the last `guest fetch --for`].
    #[arg(long, value_name = "debian[:SUITE]", value_parser = suite_of)]
    packages: Option<DebianSuite>,
    /// Add the entries of this Nix file to the table of Debian's packages.
    #[arg(long, value_name = "FILE")]
    packages_table: Option<PathBuf>,
    /// Take another flake as an input of FLAKE: `nixpkgs`, or `utils/systems` for the input of an input.
    #[arg(long, num_args = 2, value_names = ["INPUT", "FLAKE"], help_heading = FLAKES)]
    override_input: Vec<String>,
    /// Take the inputs of FLAKE that are names from the inputs of this flake.
    #[arg(long, value_name = "FLAKE", help_heading = FLAKES)]
    inputs_from: Option<String>,
    /// Read this lock file in the place of flake.lock (Nix 2.17 or newer).
    #[arg(long, value_name = "FILE", help_heading = FLAKES)]
    reference_lock_file: Option<String>,
    /// Fail if flake.lock would have to change.
    #[arg(long, help_heading = FLAKES)]
    no_update_lock_file: bool,
    /// Look up no names of flakes in registries.
    #[arg(long, help_heading = FLAKES)]
    no_registries: bool,
    /// Accepted for compatibility: flake.lock is never written.
    #[arg(long = "no-write-lock-file", help_heading = FLAKES)]
    _no_write_lock_file: bool,
}

/// The heading of the options of `nix build` and `nix flake check` on the inputs of a flake.
const FLAKES: &str = "Flakes";

/// The store of a machine that a checkpoint can save.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum StoreKind {
    Auto,
    Image,
    Virtiofs,
    Off,
}

impl From<StoreKind> for SnapshotSafety {
    fn from(kind: StoreKind) -> Self {
        match kind {
            StoreKind::Auto => Self::Auto,
            StoreKind::Image => Self::Image,
            StoreKind::Virtiofs => Self::Virtiofs,
            StoreKind::Off => Self::Off,
        }
    }
}

/// The kind of machine to run.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum MachineKind {
    Vm,
    Container,
    Auto,
}

impl From<MachineKind> for BackendChoice {
    fn from(kind: MachineKind) -> Self {
        match kind {
            MachineKind::Vm => Self::Vm,
            MachineKind::Container => Self::Container,
            MachineKind::Auto => Self::Auto,
        }
    }
}

/// `debian`, and the suite after it.
#[derive(Debug, Clone)]
struct DebianSuite {
    name: Option<String>,
}

fn suite_of(text: &str) -> Result<DebianSuite, String> {
    match text.split_once(':') {
        None if text == "debian" => Ok(DebianSuite { name: None }),
        Some(("debian", suite)) if guest::is_suite(suite) => Ok(DebianSuite {
            name: Some(suite.to_owned()),
        }),
        _ => Err("it is `debian` or `debian:SUITE`, such as `debian:trixie`".to_owned()),
    }
}

/// Waits for Nix where nothing else is to be done meanwhile: threads would
/// take a part of the time of a short evaluation.
pub fn on_this_thread<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<T, Failed>
where
    Failed: From<E>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failed::host("cannot wait for Nix"))?;
    Ok(runtime.block_on(work)?)
}

impl Source {
    pub fn select(&self) -> Result<TestSelection, Failed> {
        self.options.select(&self.file)
    }
}

impl SourceOptions {
    /// The tests of a file, with the packages that the options ask for.
    pub fn select(&self, file: &Path) -> Result<TestSelection, Failed> {
        self.select_with(file, &Config::of_folder(Path::new("."))?)
    }

    /// The tests of a file, with the packages that the options ask for, and else those of a configuration.
    pub fn select_with(&self, file: &Path, config: &Config) -> Result<TestSelection, Failed> {
        let mut selection = self.select_with_own_packages(file, config)?;
        let table = self.packages_table.clone();
        match &self.packages {
            Some(suite) => {
                let packages = guest::debian_packages(suite.name.as_deref(), table)?;
                selection.evaluation.packages = PackageSource::Debian(packages);
            }
            None if table.is_some() => {
                let message = "--packages-table is of use with `--packages debian` only";
                return Err(Failed::Usage(message.to_owned()));
            }
            None => {}
        }
        Ok(selection)
    }

    /// The user's table of Debian's packages.
    pub fn packages_table(&self) -> Option<&Path> {
        self.packages_table.as_deref()
    }

    /// The suite that `--packages` names.
    pub fn packages_suite(&self) -> Option<&str> {
        self.packages.as_ref()?.name.as_deref()
    }

    /// The tests of a file, with the packages of their nixpkgs.
    pub fn select_with_own_packages(
        &self,
        file: &Path,
        config: &Config,
    ) -> Result<TestSelection, Failed> {
        let wanted = self.nixpkgs.as_ref().or(config.nixpkgs.as_ref());
        let nixpkgs = match wanted {
            None => Nixpkgs::FromFile,
            Some(name) if name.as_os_str() == "builtin" => Nixpkgs::Builtin,
            Some(path) if path.join("default.nix").is_file() => Nixpkgs::Path(path.clone()),
            Some(path) => {
                let option = match (&self.nixpkgs, &config.file) {
                    (None, Some(file)) => format!("`nixpkgs` in {}", file.display()),
                    _ => "--nixpkgs".to_owned(),
                };
                return Err(Failed::Usage(format!(
                    "{option}: {} is no nixpkgs: it has no default.nix",
                    path.display()
                )));
            }
        };
        let library = Library::unpack()?;
        if let Some(reason) = library.cache_fault() {
            print_to_stderr(format_args!(
                "warning: the cache cannot be used ({reason}): nothing is remembered for the next run"
            ));
        }
        // Without a home folder the guests cannot be set up.
        let index = guest::index_path().ok();
        let (place, attributes) = self.place(file)?;
        let mut options = pairs(&self.options);
        if self.packages.is_some() {
            // No binary cache has what is made of Debian's packages.
            options.insert(0, ("substitute".to_owned(), "false".to_owned()));
        }
        Ok(TestSelection::new(
            Nix::new(&options, |warnings| print_to_stderr(warnings.trim_end())),
            library,
            Evaluation {
                place,
                attributes,
                chosen: Vec::new(),
                is_part: false,
                heap_mib: None,
                parts: Vec::new(),
                arguments: Arguments {
                    expressions: pairs(&self.expressions),
                    strings: pairs(&self.strings),
                    includes: self.includes.clone(),
                    show_trace: self.show_trace,
                },
                form: Form::default(),
                snapshot_safety: self.snapshot_safety(config),
                is_switchable: false,
                backend: self.backend(config)?,
                nixpkgs,
                packages: PackageSource::Nixpkgs,
                edits: ScriptEdits::default(),
                guest_index: index.filter(|index| index.exists()),
            },
        ))
    }

    /// Evaluates the tests of a file.
    ///
    /// # Errors
    /// Returns an error if the file does not evaluate.
    pub fn evaluate(&self, file: &Path) -> Result<Vec<Test>, Failed> {
        let TestSelection {
            nix,
            library,
            evaluation,
            ..
        } = self.select(file)?;
        on_this_thread(nix_cli::evaluate(&nix, &library, &evaluation))
    }

    /// The kind of all machines: by the command line, the environment, or the configuration.
    fn backend(&self, config: &Config) -> Result<Option<BackendChoice>, Failed> {
        let of_environment = std::env::var(BACKEND_VARIABLE).ok();
        let of_environment = of_environment
            .filter(|name| !name.is_empty())
            .map(|name| {
                MachineKind::from_str(&name, false).map_err(|_| {
                    let message = format!(
                        "{BACKEND_VARIABLE} is {name:?}: it is `vm`, `container` or `auto`"
                    );
                    Failed::Usage(message)
                })
            })
            .transpose()?;
        let chosen = self.backend.or(of_environment);
        Ok(chosen.map(BackendChoice::from).or(config.backend))
    }

    /// Whether machines are changed so that their state can be saved.
    fn snapshot_safety(&self, config: &Config) -> SnapshotSafety {
        let chosen = self.snapshot_safe.map(SnapshotSafety::from);
        match chosen.or(config.snapshot_safe).unwrap_or_default() {
            // virtiofsd confines itself by a namespace, or has the rights of root.
            SnapshotSafety::Auto if !can_serve_store() => SnapshotSafety::Image,
            safety => safety,
        }
    }

    /// The options on the inputs of a flake, as those of Nix.
    fn flake_wishes(&self) -> Vec<String> {
        let mut wishes = Vec::new();
        for pair in self.override_input.chunks_exact(2) {
            wishes.extend(["--override-input", &pair[0], &pair[1]].map(str::to_owned));
        }
        for (option, value) in [
            ("--inputs-from", &self.inputs_from),
            ("--reference-lock-file", &self.reference_lock_file),
        ] {
            let words = value.iter().flat_map(|value| [option, value]);
            wishes.extend(words.map(str::to_owned));
        }
        for (option, is_given) in [
            (NO_UPDATE, self.no_update_lock_file),
            ("--no-registries", self.no_registries),
        ] {
            wishes.extend(is_given.then(|| option.to_owned()));
        }
        wishes
    }

    /// A name with a `#`, or with the scheme of a flake's reference, is no file's.
    fn place(&self, file: &Path) -> Result<(TestSource, Vec<String>), Failed> {
        let as_file = || {
            let place = TestSource::File(file.to_owned());
            let is_plain = self.flake_wishes().is_empty();
            is_plain
                .then(|| (place, self.attributes.clone()))
                .ok_or_else(|| {
                    Failed::Usage(format!(
                        "{} is no flake: it has no inputs to override or to lock",
                        file.display()
                    ))
                })
        };
        let Some(text) = file.to_str().filter(|_| !file.exists()) else {
            return as_file();
        };
        let (reference, attribute) = match text.split_once('#') {
            Some((reference, attribute)) => (reference, Some(attribute)),
            None if is_reference(text) => (text, None),
            None => return as_file(),
        };
        if !self.attributes.is_empty() && attribute.is_some() {
            return Err(Failed::Usage(format!(
                "{text} names an attribute already: leave -A out"
            )));
        }
        let attribute = attribute
            .filter(|attribute| !attribute.is_empty())
            .map(str::to_owned);
        let reference = absolute_reference(reference).map_err(Failed::Usage)?;
        let place = TestSource::Flake(Flake::new(reference, self.flake_wishes()));
        let attributes = attribute.map_or_else(|| self.attributes.clone(), |path| vec![path]);
        Ok((place, attributes))
    }
}

/// Whether virtiofsd can run here.
fn can_serve_store() -> bool {
    geteuid().is_root() || has_user_namespaces()
}

/// clap gives the values of options that take two as one list.
fn pairs(values: &[String]) -> Vec<(String, String)> {
    values
        .chunks_exact(2)
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect()
}
