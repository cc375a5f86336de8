//! `snowglobe run`: evaluates, builds and runs tests, and reports the verdict.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use tokio::sync::mpsc;

use super::as_derivation;
use super::error::{Failed, code};
use super::run_options::{Plan, RunOptions, block_on, exit_code, interrupts};
use super::source::{Prepared, Source};
use crate::event::{Event, Verdict};
use crate::machine::StateRetention;
use crate::nix_cli::{self, Check};
use crate::report::Above;
use crate::script::RunMode;
use crate::session::{self, Interrupt, ReplayMode, StartPoint};

/// What to do when the script has failed and the machines still run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnFailure {
    /// Stop the machines.
    Stop,
    /// Open a prompt with the script's variables.
    Repl,
    /// Open a shell on the machine that failed.
    Shell,
}

#[derive(Debug, Args)]
pub struct RunCommand {
    #[command(flatten)]
    source: Source,
    /// Write consoles, events, junit.xml and saved files to this folder [default: ./result-NAME].
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Run each test as a Nix build, on this machine or a remote builder.
    #[arg(long)]
    as_derivation: bool,
    /// With --as-derivation, also use builders without KVM.
    #[arg(long, requires = "as_derivation")]
    allow_emulation: bool,
    /// What to do when the script has failed and the machines still run.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = OnFailure::Stop, conflicts_with = "as_derivation")]
    on_failure: OnFailure,
    #[command(flatten)]
    past: PastOptions,
    #[command(flatten)]
    run_options: RunOptions,
}

/// What earlier runs may be used for.
#[derive(Debug, Args)]
struct PastOptions {
    /// Boot all machines, and save no checkpoints. Also when the variable CI is set.
    #[arg(long)]
    cold: bool,
    /// After a run that started from a checkpoint, run the test again cold, and use that verdict.
    #[arg(long, conflicts_with_all = ["cold", "as_derivation"])]
    verify: bool,
}

impl PastOptions {
    fn past(&self) -> ReplayMode {
        let in_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
        if self.cold || in_ci {
            ReplayMode::Disabled
        } else {
            ReplayMode::Enabled
        }
    }
}

impl RunCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let prepared = self.prepare()?;
        block_on(async {
            let code = self.run_all(prepared, &mut interrupts()?).await?;
            Ok(ExitCode::from(code))
        })
    }

    pub fn prepare(&self) -> Result<Prepared, Failed> {
        self.source.prepare()
    }

    /// Runs all tests of the file; returns the exit code.
    pub async fn run_all(
        &self,
        prepared: Prepared,
        interrupts: &mut mpsc::UnboundedReceiver<Interrupt>,
    ) -> Result<u8, Failed> {
        if self.as_derivation {
            let folder = |check: &Check, count| self.folder(&check.name, &check.attribute, count);
            return as_derivation::run(
                prepared,
                &self.run_options,
                self.allow_emulation,
                folder,
                interrupts,
            )
            .await;
        }
        // Report errors of the command line first.
        self.run_options.subtests()?;
        let work = async {
            let tests =
                nix_cli::evaluate(&prepared.nix, &prepared.library, &prepared.evaluation).await?;
            for test in &tests {
                self.run_options
                    .check(test.label(), &test.source_map(), &test.manifest)?;
                session::preflight(&test.manifest)?;
            }
            Ok::<_, Failed>(tests)
        };
        let tests = tokio::select! {
            tests = work => tests?,
            _ = interrupts.recv() => return Ok(code::INTERRUPTED),
        };
        let mut worst = code::PASSED;
        for test in &tests {
            let folder = self.folder(&test.name, &test.attribute, tests.len());
            let plan = |past, verifies| Plan {
                source_map: test.source_map(),
                mode: self.mode(),
                past,
                states: StateRetention::ThisRun,
                verifies,
            };
            let outcome = self
                .run_options
                .build_and_run(
                    &prepared.nix,
                    test,
                    plan(self.past.past(), None),
                    &folder,
                    interrupts,
                )
                .await?;
            let mut verdict = outcome.verdict;
            if self.past.verify
                && outcome.begun == StartPoint::FromCheckpoint
                && verdict != Verdict::Interrupted
            {
                let cold = self
                    .run_options
                    .build_and_run(
                        &prepared.nix,
                        test,
                        plan(ReplayMode::Disabled, Some(verdict)),
                        &folder,
                        interrupts,
                    )
                    .await?;
                verdict = cold.verdict;
            }
            worst = worst.max(exit_code(verdict));
            if verdict == Verdict::Interrupted {
                break;
            }
        }
        Ok(worst)
    }

    /// Shows an event outside a run.
    pub fn announce(&self, event: Event) -> Result<(), Failed> {
        self.run_options.announce(event)
    }

    fn mode(&self) -> RunMode {
        match self.on_failure {
            OnFailure::Stop => RunMode::Script,
            OnFailure::Repl => RunMode::PromptOnFailure(Above::default()),
            OnFailure::Shell => RunMode::ShellOnFailure,
        }
    }

    fn folder(&self, name: &str, attribute: &str, count: usize) -> PathBuf {
        let label = if attribute.is_empty() {
            name
        } else {
            attribute
        };
        match &self.output {
            Some(folder) if count == 1 => folder.clone(),
            Some(folder) => folder.join(file_name(label)),
            None if count == 1 => default_folder(name),
            None => default_folder(label),
        }
    }
}

/// Where a test's output goes, where nothing else is said.
pub fn default_folder(label: &str) -> PathBuf {
    PathBuf::from(format!("result-{}", file_name(label)))
}

/// A test's name as the name of a file.
fn file_name(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c == '/' || c.is_whitespace() || c.is_control() {
                '-'
            } else {
                c
            }
        })
        .collect()
}
