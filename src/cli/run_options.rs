//! Options and steps that `run`, `repl`, `shell` and `driver` share: build, run, report.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::check::context;
use super::error::{Failed, code};
use super::findings::{count, show, stops};
use crate::event::{Event, Events, Level, Verdict};
use crate::language::check::{Parts, Severity, check};
use crate::machine::StateRetention;
use crate::manifest::Manifest;
use crate::nix_cli::{Nix, Test};
use crate::qemu::AcceleratorChoice;
use crate::report::{
    Above, Colours, Detail, JsonDisplay, LogReader, Output, PlainDisplay, Report, Reports, Showing,
    TerminalDisplay,
};
use crate::script::{AfterFailure, RunMode, Subtests};
use crate::session::{Interrupt, ReplayMode, RunOutcome, StartPoint};
use crate::source_map::SourceMap;
use crate::{nix_cli, session};

/// How often to look whether a display is done.
const DISPLAY_PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DisplayFormat {
    /// Text, with live progress on a terminal.
    Human,
    /// Text without live progress.
    Plain,
    /// The event stream: one JSON object a line.
    Json,
    /// Text, and one line with the verdict for `run --as-derivation`.
    #[value(hide = true)]
    BuildLog,
}

/// The factor for default timeouts.
#[derive(Debug, Clone, Copy, PartialEq)]
enum TimeoutFactor {
    Auto,
    By(f64),
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
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Continue with the next subtest after a failed one.
    #[arg(long)]
    keep_going: bool,
    /// Check only the syntax of the script.
    #[arg(long)]
    no_check: bool,
}

impl RunOptions {
    /// Reports the findings of the check of a script.
    ///
    /// # Errors
    /// When the check finds an error.
    pub fn check(
        &self,
        label: &str,
        source_map: &SourceMap,
        manifest: &Manifest,
    ) -> Result<(), Failed> {
        let parts = if self.no_check {
            Parts::NONE
        } else {
            Parts::of(manifest)
        };
        let mut findings = check(source_map.script(), &context(manifest), parts);
        // Notes are for who asks for a check.
        findings.retain(|finding| finding.level > Severity::Note);
        for finding in &findings {
            eprintln!("{}", show(finding, source_map, Colours::of_stderr()));
        }
        if stops(&findings) {
            return Err(Failed::Usage(format!(
                "the script of {label} cannot run as it is: {}",
                count(&findings)
            )));
        }
        Ok(())
    }

    /// Returns which subtests run, and whether a failed one ends the script.
    ///
    /// # Errors
    /// When `--only` is no regular expression.
    pub fn subtests(&self) -> Result<Subtests, Failed> {
        let only = self.only.as_deref().map(regex_lite::Regex::new).transpose();
        let only = only
            .map_err(|error| Failed::Usage(format!("--only is no regular expression: {error}")))?;
        let after_failure = if self.keep_going {
            AfterFailure::GoOn
        } else {
            AfterFailure::Stop
        };
        Ok(Subtests {
            only,
            after_failure,
        })
    }

    /// Starts to report on a run, on the display that was asked for and in `output`.
    ///
    /// # Errors
    /// When there is no thread for that.
    pub fn report(&self, output: Option<Output>, mode: &RunMode) -> Result<Reports, Failed> {
        let above = match mode {
            RunMode::Prompt(above) | RunMode::PromptOnFailure(above) => above.clone(),
            RunMode::Script | RunMode::OneShot | RunMode::ShellOnFailure => Above::default(),
        };
        Reports::start(self.display(above), output)
            .map_err(Failed::host("cannot start the threads of the reports"))
    }

    /// Shows an event outside a run.
    ///
    /// # Errors
    /// When it cannot be shown.
    pub fn announce(&self, event: Event) -> Result<(), Failed> {
        let reports = self.report(None, &RunMode::Script)?;
        reports.events.emit(event);
        let (_, showing) = reports.end().map_err(stdout_lost)?;
        showing.finish().map_err(stdout_lost)
    }

    /// Builds an evaluated test and runs it; its output goes to `folder`.
    ///
    /// # Errors
    /// When it does not build, could not be begun, or its output is not whole.
    pub async fn build_and_run(
        &self,
        nix: &Nix,
        test: &Test,
        plan: Plan,
        folder: &Path,
        interrupts: &mut mpsc::UnboundedReceiver<Interrupt>,
    ) -> Result<RunOutcome, Failed> {
        let output = Output::create(folder, &test.name)?;
        let (root, output_folder) = (output.root(), output.folder().to_owned());
        let reports = self.report(Some(output), &plan.mode)?;
        let events = &reports.events;
        let tell = |event| events.emit(event);
        let verifies = plan.verifies;
        let built = tokio::select! {
            built = nix_cli::build(nix, &test.derivation, &root, &tell) => Some(built),
            _ = interrupts.recv() => None,
        };
        let result = match built {
            None => {
                events.note(Level::Warning, "interrupted while building");
                Ok(RunOutcome {
                    verdict: Verdict::Interrupted,
                    begun: StartPoint::Cold,
                })
            }
            Some(Err(error)) => Err(error.into()),
            Some(Ok(manifest)) => {
                self.run(&manifest, plan, output_folder, events, interrupts)
                    .await
            }
        };
        if let (Ok(outcome), Some(from_checkpoint)) = (&result, verifies) {
            events.emit(Event::Verified {
                from_checkpoint,
                cold: outcome.verdict,
            });
        }
        finish(reports, result, interrupts).await
    }

    /// Runs a built test to its end.
    ///
    /// # Errors
    /// When it could not be begun.
    pub async fn run(
        &self,
        manifest: &Manifest,
        Plan {
            source_map,
            mode,
            past,
            states,
            verifies: _,
        }: Plan,
        output_folder: PathBuf,
        events: &Events,
        interrupts: &mut mpsc::UnboundedReceiver<Interrupt>,
    ) -> Result<RunOutcome, Failed> {
        let limit = self.global_timeout.unwrap_or(manifest.global_timeout_s);
        let accelerator = AcceleratorChoice::detect();
        let options = session::RunSettings {
            source_map: Arc::new(source_map),
            mode,
            subtests: self.subtests()?,
            output_folder,
            global_timeout: Duration::from_secs(limit),
            timeout_factor: match self.timeout_factor {
                TimeoutFactor::Auto => accelerator.accelerator.slowness(),
                TimeoutFactor::By(factor) => factor,
            },
            accelerator,
            past,
            states,
        };
        Ok(session::run(manifest, &options, events, interrupts).await?)
    }

    fn display(&self, above: Above) -> Box<dyn Report> {
        let detail = if self.verbose {
            Detail::Everything
        } else {
            Detail::Normal
        };
        let terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        match self.format {
            DisplayFormat::Json => Box::new(JsonDisplay::exclusive()),
            DisplayFormat::Human if terminal => Box::new(TerminalDisplay::new(detail, above)),
            DisplayFormat::Human | DisplayFormat::Plain => {
                Box::new(PlainDisplay::new(detail, LogReader::Person))
            }
            DisplayFormat::BuildLog => Box::new(PlainDisplay::new(detail, LogReader::BuildLog)),
        }
    }
}

/// What is run on a test's machines.
#[derive(Debug)]
pub struct Plan {
    pub source_map: SourceMap,
    pub mode: RunMode,
    pub past: ReplayMode,
    pub states: StateRetention,
    /// The verdict from a checkpoint that this run checks.
    pub verifies: Option<Verdict>,
}

/// Does what a command does. A thread that a script left may be inside a call:
/// the process ends without waiting for it.
///
/// # Errors
/// Those of the work, and where the system has no threads to give.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(Failed::host("cannot start the threads of a run"))?;
    let result = runtime.block_on(work);
    std::mem::forget(runtime);
    result
}

/// Ends the reports on a run: the files are whole then, and all is shown
/// unless the user does not want to wait for it.
///
/// # Errors
/// That of the run; if it has none, that of its output.
pub async fn finish(
    reports: Reports,
    result: Result<RunOutcome, Failed>,
    interrupts: &mut mpsc::UnboundedReceiver<Interrupt>,
) -> Result<RunOutcome, Failed> {
    let (output, showing) = reports.end().map_err(stdout_lost)?;
    let written = output.map_or(Ok(()), Output::finish);
    let shown = wait_until_shown(showing, interrupts).await;
    let outcome = result?;
    written.map_err(|source| Failed::OutputLost {
        source,
        verdict: outcome.verdict,
    })?;
    shown?;
    Ok(outcome)
}

/// Waits until all is shown, unless its reader has gone. A signal ends
/// the wait.
pub async fn wait_until_shown(
    showing: Showing,
    interrupts: &mut mpsc::UnboundedReceiver<Interrupt>,
) -> Result<(), Failed> {
    while !showing.is_finished() {
        tokio::select! {
            () = tokio::time::sleep(DISPLAY_PAUSE) => {}
            _ = interrupts.recv() => return Ok(()),
        }
    }
    showing.finish().map_err(stdout_lost)
}

fn stdout_lost(source: std::io::Error) -> Failed {
    Failed::host("cannot write to standard output")(source)
}

/// Ctrl-C and SIGTERM, as messages; so is the end of the terminal.
pub fn interrupts() -> Result<mpsc::UnboundedReceiver<Interrupt>, Failed> {
    let (sender, receiver) = mpsc::unbounded_channel();
    for (kind, interrupt) in [
        (SignalKind::interrupt(), Interrupt::CtrlC),
        (SignalKind::terminate(), Interrupt::Terminate),
        (SignalKind::hangup(), Interrupt::Terminate),
    ] {
        let mut signals = signal(kind).map_err(Failed::host("cannot listen for signals"))?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let _ = sender.send(interrupt);
            }
        });
    }
    Ok(receiver)
}

pub fn exit_code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Passed | Verdict::SessionClosed => code::PASSED,
        Verdict::Failed => code::TEST_FAILED,
        Verdict::Error => code::HOST_FAILED,
        Verdict::Interrupted => code::INTERRUPTED,
    }
}
