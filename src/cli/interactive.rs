//! `snowglobe repl` and `snowglobe shell`: machines for somebody at a terminal.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::conduct::{Conduct, Plan, block_on, exit_code, interrupts};
use super::error::{Failed, code};
use super::run::default_folder;
use super::source::Source;
use crate::machine::Lifetime;
use crate::manifest::{Manifest, python_name};
use crate::nix::{self, Form, Test};
use crate::origin::Origin;
use crate::report::Above;
use crate::script::Manner;
use crate::session::{self, Past};

/// What both commands take.
#[derive(Debug, Args)]
struct Options {
    #[command(flatten)]
    source: Source,
    /// Where the output goes: consoles, events, saved files [default: ./result-NAME].
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    #[command(flatten)]
    conduct: Conduct,
}

#[derive(Debug, Args)]
pub struct ReplCommand {
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
pub struct ShellCommand {
    #[command(flatten)]
    options: Options,
    /// The node [default: the only one].
    node: Option<String>,
    /// Start the test's other machines, too.
    #[arg(long)]
    all: bool,
}

impl ReplCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        self.options.run(|test| {
            self.options
                .conduct
                .check(test.label(), &test.origin(), &test.manifest)?;
            Ok(Plan {
                origin: test.origin(),
                manner: Manner::Prompt(Above::default()),
                past: Past::Unspoken,
                states: Lifetime::Run,
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
                origin: Origin::of_text(script),
                manner: Manner::Errand,
                past: Past::Unspoken,
                states: Lifetime::Run,
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

impl Options {
    /// Builds the file's only test and runs what `choose` makes of it.
    fn run(&self, choose: impl Fn(&Test) -> Result<Plan, Failed>) -> Result<ExitCode, Failed> {
        let mut prepared = self.source.prepare()?;
        prepared.evaluation.form = Form::ByHand;
        self.conduct.subtests()?;
        block_on(async {
            let mut interrupts = interrupts()?;
            let work = nix::evaluate(&prepared.nix, &prepared.library, &prepared.evaluation);
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
                .conduct
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
