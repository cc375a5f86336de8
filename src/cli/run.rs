//! `snowglobe run`: evaluates, builds and runs tests, and tells the verdict.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use tokio::sync::mpsc;

use super::as_derivation;
use super::conduct::{Conduct, Plan, block_on, exit_code, interrupts};
use super::error::{Failed, code};
use super::source::{Prepared, Source};
use crate::event::{Event, Verdict};
use crate::machine::Lifetime;
use crate::nix::{self, Check};
use crate::report::Above;
use crate::script::Manner;
use crate::session::{self, Begun, Past, Wish};

/// What follows on a failed script, while its machines still run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnFailure {
    /// The machines are stopped.
    Stop,
    /// A prompt among the script's names.
    Repl,
    /// A shell on the machine that the failure is about.
    Shell,
}

#[derive(Debug, Args)]
pub struct RunCommand {
    #[command(flatten)]
    source: Source,
    /// Where the output goes: consoles, events, junit.xml, saved files [default: ./result-NAME].
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Have Nix run each test as a build, on whichever of its builders; the file's derivations are those of `mkCheck`.
    #[arg(long)]
    as_derivation: bool,
    /// With --as-derivation: take builders without KVM, too.
    #[arg(long, requires = "as_derivation")]
    allow_emulation: bool,
    /// What follows on a failed script, while its machines still run.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = OnFailure::Stop, conflicts_with = "as_derivation")]
    on_failure: OnFailure,
    #[command(flatten)]
    past: PastOptions,
    #[command(flatten)]
    conduct: Conduct,
}

/// What earlier runs may be used for.
#[derive(Debug, Args)]
struct PastOptions {
    /// Boot the machines, whatever is known from earlier runs, and keep nothing for later ones; so it is where the variable CI is set.
    #[arg(long)]
    cold: bool,
    /// After a run that began at a checkpoint, run the test cold, too: its verdict counts.
    #[arg(long, conflicts_with_all = ["cold", "as_derivation"])]
    verify: bool,
}

impl PastOptions {
    fn past(&self) -> Past {
        let in_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
        if self.cold || in_ci {
            Past::Ignored
        } else {
            Past::Used
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

    /// Runs all tests of the file; gives the exit code.
    pub async fn run_all(
        &self,
        prepared: Prepared,
        interrupts: &mut mpsc::UnboundedReceiver<Wish>,
    ) -> Result<u8, Failed> {
        if self.as_derivation {
            let folder = |check: &Check, count| self.folder(&check.name, &check.attribute, count);
            return as_derivation::run(
                prepared,
                &self.conduct,
                self.allow_emulation,
                folder,
                interrupts,
            )
            .await;
        }
        // What is wrong with the command line is told first.
        self.conduct.subtests()?;
        let work = async {
            let tests =
                nix::evaluate(&prepared.nix, &prepared.library, &prepared.evaluation).await?;
            for test in &tests {
                self.conduct
                    .check(test.label(), &test.origin(), &test.manifest)?;
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
                origin: test.origin(),
                manner: self.manner(),
                past,
                states: Lifetime::Run,
                verifies,
            };
            let outcome = self
                .conduct
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
                && outcome.begun == Begun::FromCheckpoint
                && verdict != Verdict::Interrupted
            {
                let cold = self
                    .conduct
                    .build_and_run(
                        &prepared.nix,
                        test,
                        plan(Past::Ignored, Some(verdict)),
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

    /// Shows an event that is not part of a run.
    pub fn announce(&self, event: Event) -> Result<(), Failed> {
        self.conduct.announce(event)
    }

    fn manner(&self) -> Manner {
        match self.on_failure {
            OnFailure::Stop => Manner::Script,
            OnFailure::Repl => Manner::PromptOnFailure(Above::default()),
            OnFailure::Shell => Manner::ShellOnFailure,
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
