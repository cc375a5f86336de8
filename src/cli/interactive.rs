//! `snowglobe repl` and `snowglobe shell`: interactive sessions with a test's machines.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::error::{Failed, code};
use super::run::default_folder;
use super::run_options::{Plan, RunOptions, block_on, exit_code, interrupts};
use super::source::Source;
use crate::machine::StateRetention;
use crate::manifest::{Manifest, python_name};
use crate::nix_cli::{self, Form, Test};
use crate::report::Above;
use crate::script::RunMode;
use crate::session::{self, ReplayMode};
use crate::source_map::SourceMap;

/// What both commands take.
#[derive(Debug, Args)]
struct SessionOptions {
    #[command(flatten)]
    source: Source,
    /// Write consoles, events and saved files to this folder [default: ./result-NAME].
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    #[command(flatten)]
    run_options: RunOptions,
}

#[derive(Debug, Args)]
pub struct ReplCommand {
    #[command(flatten)]
    options: SessionOptions,
}

#[derive(Debug, Args)]
pub struct ShellCommand {
    #[command(flatten)]
    options: SessionOptions,
    /// The node to start [default: the only one].
    node: Option<String>,
    /// Also start the other machines of the test.
    #[arg(long)]
    all: bool,
}

impl ReplCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        self.options.run(|test| {
            self.options
                .run_options
                .check(test.label(), &test.source_map(), &test.manifest)?;
            Ok(Plan {
                source_map: test.source_map(),
                mode: RunMode::Prompt(Above::default()),
                past: ReplayMode::NotApplicable,
                states: StateRetention::ThisRun,
                verifies: None,
            })
        })
    }
}

impl ShellCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        std::fs::File::open("/dev/tty").map_err(|error| {
            Failed::Usage(format!(
                "a shell needs a terminal, and there is none ({error})"
            ))
        })?;
        self.options.run(|test| {
            let machine = python_name(self.node(&test.manifest)?);
            let start = if self.all { "start_all()\n" } else { "" };
            let script = format!("{start}{machine}.shell_interact()\n");
            Ok(Plan {
                source_map: SourceMap::of_text(script),
                mode: RunMode::OneShot,
                past: ReplayMode::NotApplicable,
                states: StateRetention::ThisRun,
                verifies: None,
            })
        })
    }

    fn node<'a>(&'a self, manifest: &'a Manifest) -> Result<&'a str, Failed> {
        let names: Vec<&str> = manifest.nodes.keys().map(String::as_str).collect();
        let unknown = |what: &str| {
            Failed::Usage(format!(
                "{what}: the test {} has {}",
                manifest.name,
                names.join(", ")
            ))
        };
        match (&self.node, names.as_slice()) {
            (Some(name), names) if names.contains(&name.as_str()) => Ok(name),
            (Some(name), _) => Err(unknown(&format!("there is no node {name}"))),
            (None, [only]) => Ok(only),
            (None, _) => Err(unknown("say which node")),
        }
    }
}

impl SessionOptions {
    /// Builds the file's only test and runs what `choose` makes of it.
    fn run(&self, choose: impl Fn(&Test) -> Result<Plan, Failed>) -> Result<ExitCode, Failed> {
        let mut prepared = self.source.prepare()?;
        prepared.evaluation.form = Form::ByHand;
        self.run_options.subtests()?;
        block_on(async {
            let mut interrupts = interrupts()?;
            let work = nix_cli::evaluate(&prepared.nix, &prepared.library, &prepared.evaluation);
            let tests = tokio::select! {
                tests = work => tests?,
                _ = interrupts.recv() => return Ok(ExitCode::from(code::INTERRUPTED)),
            };
            let test = match tests.as_slice() {
                [test] => test,
                tests => return Err(several(tests)),
            };
            let plan = choose(test)?;
            session::preflight(&test.manifest)?;
            let folder = match &self.output {
                Some(folder) => folder.clone(),
                None => default_folder(&test.name),
            };
            let outcome = self
                .run_options
                .build_and_run(&prepared.nix, test, plan, &folder, &mut interrupts)
                .await?;
            Ok(ExitCode::from(exit_code(outcome.verdict)))
        })
    }
}

fn several(tests: &[Test]) -> Failed {
    let names: Vec<&str> = tests.iter().map(Test::label).collect();
    Failed::Usage(format!(
        "the file has {} tests, and one is needed: choose it with -A ({})",
        tests.len(),
        names.join(", ")
    ))
}
