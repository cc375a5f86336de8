//! `snowglobe repl` and `snowglobe shell`: interactive sessions with a test's machines.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::error::{Failed, exit_code};
use super::run_options::{RunOptions, block_on};
use super::source::Source;
use crate::engine::RunMode;
use crate::repl::{Above, Prompt};
use crate::runner::{InteractiveSession, OtherMachines, OutputLocation, interrupts, run_session};

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
        let above = Above::default();
        let mode = RunMode::Prompt(Arc::new(Prompt(above.clone())));
        self.options.run(mode, above, &InteractiveSession::Prompt)
    }
}

impl ShellCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        std::fs::File::open("/dev/tty").map_err(|error| {
            Failed::Usage(format!(
                "a shell needs a terminal, and there is none ({error})"
            ))
        })?;
        let session = InteractiveSession::Shell {
            node: self.node.clone(),
            others: if self.all {
                OtherMachines::Started
            } else {
                OtherMachines::Off
            },
        };
        self.options
            .run(RunMode::OneShot, Above::default(), &session)
    }
}

impl SessionOptions {
    fn run(
        &self,
        mode: RunMode,
        above: Above,
        session: &InteractiveSession,
    ) -> Result<ExitCode, Failed> {
        let selection = self.source.select()?;
        let settings = self.run_options.settings(mode);
        let output = OutputLocation(self.output.clone());
        let frontend = self.run_options.frontend(above);
        block_on(async {
            let mut interrupts = interrupts()?;
            let verdict = run_session(
                selection,
                &settings,
                session,
                &output,
                &frontend,
                &mut interrupts,
            )
            .await?;
            Ok(exit_code(&[verdict]))
        })
    }
}
