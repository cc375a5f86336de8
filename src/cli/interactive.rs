//! `snowglobe repl` and `snowglobe shell`: interactive sessions with a test's machines.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::error::{Failed, exit_code, print_to_stderr};
use super::run_options::{RunOptions, block_on};
use super::source::SourceOptions;
use crate::config::Config;
use crate::engine::RunMode;
use crate::model::manifest::SnapshotSafety;
use crate::prompt_output::PromptOutput;
use crate::repl::Prompt;
use crate::runner::{
    InteractiveSession, OtherMachines, OutputLocation, find_running, interrupts, run_session,
};
use crate::session::ReplayMode;

/// Options of `repl`, `shell` and `debug`.
#[derive(Debug, Args)]
pub struct SessionOptions {
    #[command(flatten)]
    source: SourceOptions,
    /// Write consoles, events and saved files to this folder [default: ./result-NAME].
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    #[command(flatten)]
    run_options: RunOptions,
}

#[derive(Debug, Args)]
pub struct ReplCommand {
    /// The test file, a folder with a default.nix, or FLAKE#ATTRIBUTE.
    file: PathBuf,
    #[command(flatten)]
    options: SessionOptions,
}

#[derive(Debug, Args)]
pub struct ShellCommand {
    /// The test file, a folder with a default.nix, or FLAKE#ATTRIBUTE.
    #[arg(required_unless_present = "running")]
    file: Option<PathBuf>,
    /// The node to start [default: the only one].
    node: Option<String>,
    /// Open the shell in a machine of a test that runs already, in another process [default: the only one that runs]; or run a command there, which needs no terminal, and end with its exit code. A single word is a line for the guest's shell. In a virtual machine, a command has no input, and its errors are part of its output.
    #[arg(long, value_names = ["NODE", "COMMAND"], num_args = 0.., allow_hyphen_values = true, exclusive = true)]
    running: Option<Vec<String>>,
    #[command(flatten)]
    options: SessionOptions,
    /// Also start the other machines of the test.
    #[arg(long)]
    all: bool,
}

impl ReplCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let output = PromptOutput::default();
        let mode = RunMode::Prompt(Arc::new(Prompt(output.clone())));
        let session = InteractiveSession::Prompt;
        self.options.run(&self.file, mode, output, &session)
    }
}

impl ShellCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let (node, command) = on_running(self.running.as_deref().unwrap_or_default());
        if !command.is_empty() {
            let machine = find_running(node)?;
            let code = block_on(async { Ok(machine.command(command).await?) })?;
            return Ok(ExitCode::from(code));
        }
        std::fs::File::open("/dev/tty").map_err(|error| {
            Failed::Usage(format!(
                "a shell needs a terminal, and there is none ({error}); `--running NODE COMMAND` runs a command without one"
            ))
        })?;
        let Some(file) = &self.file else {
            return shell_on_running(node);
        };
        let session = InteractiveSession::Shell {
            node: self.node.clone(),
            others: if self.all {
                OtherMachines::Started
            } else {
                OtherMachines::Off
            },
        };
        self.options
            .run(file, RunMode::OneShot, PromptOutput::default(), &session)
    }
}

/// Splits the words of `--running` into the node and the command, which may begin with `--`.
fn on_running(words: &[String]) -> (Option<&str>, &[String]) {
    match words {
        [] => (None, &[]),
        [dashes, command @ ..] if dashes == "--" => (None, command),
        [node, dashes, command @ ..] if dashes == "--" => (Some(node), command),
        [node, command @ ..] => (Some(node), command),
    }
}

/// Opens a shell in a machine of another process.
fn shell_on_running(node: Option<&str>) -> Result<ExitCode, Failed> {
    let machine = find_running(node)?;
    print_to_stderr(format_args!(
        "{}: terminal attached (Ctrl-] detaches)",
        machine.name()
    ));
    block_on(async { Ok(machine.shell().await?) })?;
    Ok(ExitCode::SUCCESS)
}

impl SessionOptions {
    /// Opens a session with the machines of the only test of a file.
    ///
    /// # Errors
    /// Returns an error if there is not one test, or it does not build or begin.
    pub fn run(
        &self,
        file: &Path,
        mode: RunMode,
        prompt_output: PromptOutput,
        session: &InteractiveSession,
    ) -> Result<ExitCode, Failed> {
        let mut config = Config::of_folder(Path::new("."))?;
        let mut settings = self.run_options.settings(mode, &prompt_output);
        if matches!(session, InteractiveSession::Debug(_)) {
            config.snapshot_safe.get_or_insert(SnapshotSafety::Auto);
            settings.replay = ReplayMode::Enabled;
            settings.breakpoints = Some(Arc::new(Prompt(prompt_output.clone())));
        }
        let selection = self.source.select_with(file, &config)?;
        let output = OutputLocation(self.output.clone());
        let frontend = self.run_options.frontend(prompt_output);
        block_on(async {
            let mut interrupts = interrupts()?;
            let verdict = run_session(
                selection,
                &settings,
                self.run_options.script_check(),
                session,
                &output,
                &frontend,
                &mut interrupts,
            )
            .await?;
            Ok(exit_code(verdict))
        })
    }
}
