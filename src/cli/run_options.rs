//! Options that `run`, `watch`, `repl`, `shell` and `driver` share.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use regex_lite::Regex;

use super::error::Failed;
use super::frontend::{CommandFrontend, DisplayFormat};
use crate::engine::{CPython, Interaction, PythonError, RunMode};
use crate::host::{AfterFailure, CaptureMode, Seed, Subtests};
use crate::machine::StateRetention;
use crate::model::failed_units::FailedUnitPolicy;
use crate::prompt_output::PromptOutput;
use crate::repl::Prompt;
use crate::report::Detail;
use crate::runner::ScriptCheck;
use crate::session::{AttachPolicy, ChangedMachines, Film, ReplayMode, RunSettings, TimeoutFactor};

#[derive(Debug, Args)]
pub struct RunOptions {
    /// Select the output format.
    #[arg(long, value_enum, default_value_t = DisplayFormat::Human)]
    format: DisplayFormat,
    /// Also show consoles and build logs.
    #[arg(short, long)]
    verbose: bool,
    /// Fail a test after this many seconds [default: the test's own limit].
    #[arg(long, value_name = "SECONDS")]
    global_timeout: Option<u64>,
    /// Factor for default timeouts: a number, or `auto` for 1 with KVM and 10 without.
    #[arg(long, value_name = "auto|N", default_value = "auto", value_parser = timeout_factor)]
    timeout_factor: TimeoutFactor,
    /// Run only subtests whose name matches this regular expression, and code outside subtests.
    #[arg(long, value_name = "PATTERN", value_parser = Regex::new)]
    only: Option<Regex>,
    /// Continue with the next subtest after a failed one.
    #[arg(long)]
    keep_going: bool,
    /// Run the script in this CPython, 3.11 or newer [default: an embedded interpreter, or the CPython that packages of the test need].
    #[arg(long, value_name = "PATH", value_parser = python)]
    python: Option<CPython>,
    /// Save the packets of the networks as `network.pcapng` in the output folder.
    #[arg(
        long,
        value_name = "always|on-failure|never",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    capture: CaptureMode,
    /// Seed of everything random in a run, such as lost packets: a run prints its seed if it draws numbers [default: another one in each run].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Check only the syntax of the script.
    #[arg(long)]
    no_check: bool,
}

fn timeout_factor(text: &str) -> Result<TimeoutFactor, String> {
    if text == "auto" {
        return Ok(TimeoutFactor::Auto);
    }
    match text.parse::<f64>() {
        Ok(factor) if factor > 0.0 && factor.is_finite() => Ok(TimeoutFactor::By(factor)),
        _ => Err("it is `auto` or a number above 0".to_owned()),
    }
}

fn python(path: &str) -> Result<CPython, PythonError> {
    CPython::find(Path::new(path))
}

impl RunOptions {
    /// The settings of a run that is not replayed. The prompt of breakpoints appears below what `output` prints.
    pub fn settings(&self, mode: RunMode, output: &PromptOutput) -> RunSettings {
        let has_terminal = std::io::stdin().is_terminal();
        RunSettings {
            changed_machines: ChangedMachines::default(),
            mode,
            breakpoints: has_terminal
                .then(|| -> Arc<dyn Interaction> { Arc::new(Prompt(output.clone())) }),
            // A build has no user, unless it says so.
            attach: match self.format {
                DisplayFormat::BuildLog => AttachPolicy::Nowhere,
                _ => AttachPolicy::AtBreakpoints,
            },
            stop: None,
            subtests: Subtests {
                only: self.only.clone(),
                after_failure: if self.keep_going {
                    AfterFailure::GoOn
                } else {
                    AfterFailure::Stop
                },
            },
            global_timeout: self.global_timeout.map(Duration::from_secs),
            timeout_factor: self.timeout_factor,
            failed_units: FailedUnitPolicy::default(),
            python: self.python.clone(),
            replay: ReplayMode::NotApplicable,
            disks_from: None,
            from: None,
            debug_command: None,
            states: StateRetention::ThisRun,
            film: Film::Off,
            capture: self.capture,
            seed: self.seed.map(Seed::Given),
        }
    }

    /// How much of a script is checked before anything is built.
    pub fn script_check(&self) -> ScriptCheck {
        if self.no_check {
            ScriptCheck::SyntaxOnly
        } else {
            ScriptCheck::AsConfigured
        }
    }

    /// The displays; a prompt appears below what `output` prints.
    pub fn frontend(&self, output: PromptOutput) -> CommandFrontend {
        let detail = if self.verbose {
            Detail::Everything
        } else {
            Detail::Normal
        };
        CommandFrontend::new(self.format, detail, output)
    }
}

/// Does what a command does. A thread that a script left may be inside a call:
/// the process ends without waiting for it.
///
/// # Errors
/// Returns the error of `work`, or an error if the system has no threads to give.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(Failed::host("cannot start the threads of a run"))?;
    let result = runtime.block_on(work);
    std::mem::forget(runtime);
    result
}
