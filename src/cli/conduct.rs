//! How a test is built, run and told: what `run`, `repl`, `shell` and `driver` share.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::check::surroundings;
use super::error::{Failed, code};
use super::findings::{count, show, stops};
use crate::event::{Event, Events, Level, Verdict};
use crate::language::check::{Parts, Severity, check};
use crate::machine::Lifetime;
use crate::manifest::Manifest;
use crate::nix::{Nix, Test};
use crate::origin::Origin;
use crate::qemu::AcceleratorChoice;
use crate::report::{
    Above, Colours, Detail, JsonDisplay, Output, PlainDisplay, Reader, Report, Reports, Showing,
    TerminalDisplay,
};
use crate::script::{AfterFailure, Manner, Subtests};
use crate::session::{Begun, Outcome, Past, Wish};
use crate::{nix, session};

/// How often to look whether a display is done.
const DISPLAY_PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines for people, with live progress on a terminal.
    Human,
    /// Lines for people, as where there is no terminal.
    Plain,
    /// The stream of events, a JSON object a line.
    Json,
    /// Plain lines, and one with the verdict for `run --as-derivation`.
    #[value(hide = true)]
    BuildLog,
}

/// What deadlines that a script does not give are multiplied by.
#[derive(Debug, Clone, Copy, PartialEq)]
enum TimeoutScale {
    Auto,
    By(f64),
}

fn timeout_scale(text: &str) -> Result<TimeoutScale, String> {
    if text == "auto" {
        return Ok(TimeoutScale::Auto);
    }
    match text.parse::<f64>() {
        Ok(factor) if factor > 0.0 && factor.is_finite() => Ok(TimeoutScale::By(factor)),
        _ => Err("it is `auto' or a number above 0".to_owned()),
    }
}

#[derive(Debug, Args)]
pub struct Conduct {
    /// How the run is told.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Show the consoles and the builds' logs too.
    #[arg(short, long)]
    verbose: bool,
    /// How long each test may take, in seconds [default: what the test says].
    #[arg(long, value_name = "SECONDS")]
    global_timeout: Option<u64>,
    /// By how much deadlines grow that the script does not give: a number, or `auto` for 10 where machines are emulated.
    #[arg(long, value_name = "auto|N", default_value = "auto", value_parser = timeout_scale)]
    timeout_scale: TimeoutScale,
    /// Run only the subtests whose name this regular expression is found in, and what is in no subtest.
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Go on with the next subtest after one that failed.
    #[arg(long)]
    keep_going: bool,
    /// Do not check the script first, but for its syntax.
    #[arg(long)]
    no_check: bool,
}

impl Conduct {
    /// Says what is wrong with a script.
    ///
    /// # Errors
    /// When it cannot run as it is.
    pub fn check(&self, label: &str, origin: &Origin, manifest: &Manifest) -> Result<(), Failed> {
        let parts = if self.no_check {
            Parts::NONE
        } else {
            Parts::of(manifest)
        };
        let mut findings = check(origin.script(), &surroundings(manifest), parts);
        // Notes are for who asks for a check.
        findings.retain(|finding| finding.level > Severity::Note);
        for finding in &findings {
            eprintln!("{}", show(finding, origin, Colours::of_stderr()));
        }
        if stops(&findings) {
            return Err(Failed::Usage(format!(
                "the script of {label} cannot run as it is: {}",
                count(&findings)
            )));
        }
        Ok(())
    }

    /// Which subtests run, and what follows on a failed one.
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
    pub fn report(&self, output: Option<Output>, manner: &Manner) -> Result<Reports, Failed> {
        let above = match manner {
            Manner::Prompt(above) | Manner::PromptOnFailure(above) => above.clone(),
            Manner::Script | Manner::Errand | Manner::ShellOnFailure => Above::default(),
        };
        Reports::start(self.display(above), output)
            .map_err(Failed::host("cannot start the threads of the reports"))
    }

    /// Shows an event that is not part of a run.
    ///
    /// # Errors
    /// When it cannot be shown.
    pub fn announce(&self, event: Event) -> Result<(), Failed> {
        let reports = self.report(None, &Manner::Script)?;
        reports.events.tell(event);
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
        interrupts: &mut mpsc::UnboundedReceiver<Wish>,
    ) -> Result<Outcome, Failed> {
        let output = Output::create(folder, &test.name)?;
        let (root, output_folder) = (output.root(), output.folder().to_owned());
        let reports = self.report(Some(output), &plan.manner)?;
        let events = &reports.events;
        let tell = |event| events.tell(event);
        let verifies = plan.verifies;
        let built = tokio::select! {
            built = nix::build(nix, &test.derivation, &root, &tell) => Some(built),
            _ = interrupts.recv() => None,
        };
        let result = match built {
            None => {
                events.note(Level::Warning, "interrupted while building");
                Ok(Outcome {
                    verdict: Verdict::Interrupted,
                    begun: Begun::Cold,
                })
            }
            Some(Err(error)) => Err(error.into()),
            Some(Ok(manifest)) => {
                self.run(&manifest, plan, output_folder, events, interrupts)
                    .await
            }
        };
        if let (Ok(outcome), Some(from_checkpoint)) = (&result, verifies) {
            events.tell(Event::Verified {
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
            origin,
            manner,
            past,
            states,
            verifies: _,
        }: Plan,
        output_folder: PathBuf,
        events: &Events,
        interrupts: &mut mpsc::UnboundedReceiver<Wish>,
    ) -> Result<Outcome, Failed> {
        let limit = self.global_timeout.unwrap_or(manifest.global_timeout_s);
        let accelerator = AcceleratorChoice::detect();
        let options = session::Options {
            origin: Arc::new(origin),
            manner,
            subtests: self.subtests()?,
            output_folder,
            global_timeout: Duration::from_secs(limit),
            timeout_scale: match self.timeout_scale {
                TimeoutScale::Auto => accelerator.accelerator.slowness(),
                TimeoutScale::By(factor) => factor,
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
            Format::Json => Box::new(JsonDisplay::default()),
            Format::Human if terminal => Box::new(TerminalDisplay::new(detail, above)),
            Format::Human | Format::Plain => Box::new(PlainDisplay::new(detail, Reader::Person)),
            Format::BuildLog => Box::new(PlainDisplay::new(detail, Reader::BuildLog)),
        }
    }
}

/// What is run on a test's machines.
#[derive(Debug)]
pub struct Plan {
    pub origin: Origin,
    pub manner: Manner,
    pub past: Past,
    pub states: Lifetime,
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
    result: Result<Outcome, Failed>,
    interrupts: &mut mpsc::UnboundedReceiver<Wish>,
) -> Result<Outcome, Failed> {
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

/// Waits until all is shown, for as long as somebody reads it. A signal ends
/// the wait.
pub async fn wait_until_shown(
    showing: Showing,
    interrupts: &mut mpsc::UnboundedReceiver<Wish>,
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
pub fn interrupts() -> Result<mpsc::UnboundedReceiver<Wish>, Failed> {
    let (sender, receiver) = mpsc::unbounded_channel();
    for (kind, wish) in [
        (SignalKind::interrupt(), Wish::Interrupt),
        (SignalKind::terminate(), Wish::Terminate),
        (SignalKind::hangup(), Wish::Terminate),
    ] {
        let mut signals = signal(kind).map_err(Failed::host("cannot listen for signals"))?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let _ = sender.send(wish);
            }
        });
    }
    Ok(receiver)
}

pub fn exit_code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Passed | Verdict::Left => code::PASSED,
        Verdict::Failed => code::TEST_FAILED,
        Verdict::Broken => code::MACHINERY_FAILED,
        Verdict::Interrupted => code::INTERRUPTED,
    }
}
