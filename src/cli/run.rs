//! `snowglobe run`: evaluates, builds and runs tests, and reports the verdict.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, ValueEnum};

use super::UserCli;
use super::error::{Failed, exit_code_of_run};
use super::filter::FilterOptions;
use super::frontend::CommandFrontend;
use super::many_options::{EvalOptions, ManyOptions, project};
use super::run_options::{RunOptions, block_on};
use super::source::SourceOptions;
use crate::config::Config;
use crate::engine::RunMode;
use crate::model::manifest::SnapshotSafety;
use crate::prompt_output::PromptOutput;
use crate::repl::Prompt;
use crate::runner::{
    Builders, Confirmation, OutputLocation, RunPlace, RunRequest, TestSelection, Verification,
    interrupts, run,
};
use crate::session::{AttachPolicy, Film, ReplayMode, RunSettings};

/// The action when the script has failed and the machines still run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnFailure {
    /// Stop the machines.
    Stop,
    /// Open a prompt with the script's variables.
    Repl,
    /// Open a shell on the machine that failed.
    Shell,
    /// Wait until `snowglobe attach` opens the prompt from another terminal.
    Wait,
}

#[derive(Debug, Args)]
pub struct RunCommand {
    /// Test files, folders with a default.nix, or FLAKE#ATTRIBUTE.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    source: SourceOptions,
    #[command(flatten)]
    filter: FilterOptions,
    /// Write consoles, events, junit.xml and saved files to this folder [default: ./result-NAME].
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Run each test as a Nix build, on this machine or a remote builder.
    #[arg(long)]
    as_derivation: bool,
    /// Start the machines with the disks that an earlier run has saved with `save_disks()`: its output folder.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["as_derivation", "from"])]
    disks_from: Option<PathBuf>,
    /// With --as-derivation, also use builders without KVM.
    #[arg(long, requires = "as_derivation")]
    allow_emulation: bool,
    /// Choose what to do when the script has failed and the machines still run.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = OnFailure::Stop, conflicts_with = "as_derivation")]
    on_failure: OnFailure,
    #[command(flatten)]
    many: ManyOptions,
    #[command(flatten)]
    eval: EvalOptions,
    #[command(flatten)]
    replay: ReplayOptions,
    #[command(flatten)]
    run_options: RunOptions,
}

/// Uses of earlier runs.
#[derive(Debug, Args)]
struct ReplayOptions {
    /// Boot all machines, and save no checkpoints. Also when the variable CI is set.
    #[arg(long)]
    cold: bool,
    /// Start from this checkpoint, or from the start of this subtest, whatever comes later in the recording. The first run boots, and saves it. With --repeat, each further run starts there.
    #[arg(long, value_name = "CHECKPOINT|SUBTEST", conflicts_with_all = ["cold", "as_derivation"])]
    from: Option<String>,
    /// After a run that started from a checkpoint, run the test again cold, and use that verdict.
    #[arg(long, conflicts_with_all = ["cold", "as_derivation"])]
    verify: bool,
    /// Take the word of containers that `auto` has chosen: do not run a test that has failed as such once more as virtual machines.
    #[arg(long, conflicts_with = "as_derivation")]
    no_confirm: bool,
}

impl ReplayOptions {
    fn mode(&self) -> ReplayMode {
        let in_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
        if self.cold || in_ci && self.from.is_none() {
            ReplayMode::Disabled
        } else {
            ReplayMode::Enabled
        }
    }

    fn confirmation(&self) -> Confirmation {
        if self.no_confirm {
            Confirmation::Off
        } else {
            Confirmation::AsVirtualMachines
        }
    }

    fn verification(&self) -> Verification {
        if self.verify {
            Verification::ColdRun
        } else {
            Verification::Off
        }
    }
}

/// Options of `run` alone, without a value.
const OF_RUN_ALONE: [&str; 3] = ["--verify", "--no-confirm", "--allow-emulation"];

/// Returns the command line of `debug` for the file and options of this process; `None` if it takes no such options.
fn debug_command() -> Option<String> {
    let words = std::env::args().skip(2);
    let words = words.filter(|word| !OF_RUN_ALONE.contains(&&**word));
    let words: Vec<String> = ["snowglobe", "debug"]
        .map(str::to_owned)
        .into_iter()
        .chain(words)
        .collect();
    UserCli::try_parse_from(&words).ok()?;
    shlex::try_join(words.iter().map(String::as_str)).ok()
}

impl RunCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let output = PromptOutput::default();
        let request = self.request(&output)?;
        let frontend = self.frontend(output);
        block_on(async {
            let ended = run(&request, &frontend, &mut interrupts()?).await?;
            Ok(exit_code_of_run(&ended))
        })
    }

    pub fn frontend(&self, output: PromptOutput) -> CommandFrontend {
        self.run_options.frontend(output)
    }

    /// Returns the request of the options.
    pub fn request(&self, output: &PromptOutput) -> Result<RunRequest, Failed> {
        let default = match self.replay.from {
            Some(_) => SnapshotSafety::Auto,
            None => SnapshotSafety::Off,
        };
        self.request_with(output, default)
    }

    /// Returns the request of the options; whether machines are changed so that they can be saved is `default` if
    /// neither an option nor the configuration says it.
    pub fn request_with(
        &self,
        output: &PromptOutput,
        default: SnapshotSafety,
    ) -> Result<RunRequest, Failed> {
        let mut config = self.many.config()?;
        let safety = config.snapshot_safe.get_or_insert(default);
        if self.replay.mode() == ReplayMode::Disabled && *safety == SnapshotSafety::Auto {
            // Nothing is saved: the machines stay as the test has them.
            *safety = SnapshotSafety::Off;
        }
        let settings = self.run_options.settings(self.mode(output), output);
        Ok(RunRequest {
            selections: self.selections(&config)?,
            filter: self.filter.filter(),
            script_check: self.run_options.script_check(),
            verification: self.replay.verification(),
            confirmation: self.replay.confirmation(),
            settings: RunSettings {
                replay: self.replay.mode(),
                disks_from: self.disks_from.clone(),
                from: self.replay.from.clone(),
                debug_command: debug_command(),
                film: Film::Taken,
                attach: match self.on_failure {
                    OnFailure::Wait => AttachPolicy::AtFailures,
                    _ => settings.attach,
                },
                ..settings
            },
            output: OutputLocation(self.output.clone()),
            max_fail: self.many.max_fail(),
            evaluation: self.eval.limits(),
            attempts: self.many.attempts(),
            first_seed: self.many.first_seed(),
            resources: self.many.resources(&config),
            project: project(config),
            place: match (self.as_derivation, self.allow_emulation) {
                (false, _) => RunPlace::Here,
                (true, false) => RunPlace::Derivation(Builders::WithKvm),
                (true, true) => RunPlace::Derivation(Builders::Any),
            },
        })
    }

    fn selections(&self, config: &Config) -> Result<Vec<TestSelection>, Failed> {
        let files = self.files.iter();
        files
            .map(|file| self.source.select_with(file, config))
            .collect()
    }

    fn mode(&self, output: &PromptOutput) -> RunMode {
        match self.on_failure {
            OnFailure::Stop | OnFailure::Wait => RunMode::Script,
            OnFailure::Repl => RunMode::PromptOnFailure(Arc::new(Prompt(output.clone()))),
            OnFailure::Shell => RunMode::ShellOnFailure,
        }
    }
}
