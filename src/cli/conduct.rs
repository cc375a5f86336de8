//! How a test is built, run and told: what `run`, `repl`, `shell` and `driver` share.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::check::surroundings;
use super::error::{Failed, code};
use super::findings::{count, show, stops};
use crate::event::{Events, Level, Verdict};
use crate::language::check::{Parts, Severity, check};
use crate::machine::Lifetime;
use crate::manifest::Manifest;
use crate::nix::{Nix, Test};
use crate::origin::Origin;
use crate::qemu::AcceleratorChoice;
use crate::report::{
    Above, Colours, Detail, JsonDisplay, Output, PlainDisplay, Report, TerminalDisplay,
};
use crate::script::{AfterFailure, Manner, Subtests};
use crate::session::{Begun, Outcome, Past, Wish};
use crate::{nix, report, session};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines for people, with live progress on a terminal.
    Human,
    /// Lines for people, as where there is no terminal.
    Plain,
    /// The stream of events, a JSON object a line.
    Json,
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
        let colours = if console::colors_enabled_stderr() {
            Colours::On
        } else {
            Colours::Off
        };
        for finding in &findings {
            eprintln!("{}", show(finding, origin, colours));
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

    /// Begins to tell of a run, on the display that was asked for and in `output`.
    ///
    /// # Errors
    /// When there is no thread for that.
    pub fn tell(&self, output: Output, manner: &Manner) -> std::io::Result<Telling> {
        let above = match manner {
            Manner::Prompt(above) | Manner::PromptOnFailure(above) => above.clone(),
            Manner::Script | Manner::Errand | Manner::ShellOnFailure => Above::default(),
        };
        let (sender, receiver) = channel();
        let reports = report::spawn(receiver, vec![self.display(above), Box::new(output)])?;
        Ok(Telling {
            events: Events::new(sender),
            reports,
        })
    }

    /// Builds an evaluated test and runs it; its output goes to `folder`.
    ///
    /// # Errors
    /// When it does not build, or could not be begun.
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
        let telling = self.tell(output, &plan.manner)?;
        let events = &telling.events;
        let tell = |event| events.tell(event);
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
        telling.end();
        result
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
            Format::Json => Box::new(JsonDisplay),
            Format::Human if terminal => Box::new(TerminalDisplay::new(detail, above)),
            Format::Human | Format::Plain => Box::new(PlainDisplay::new(detail)),
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
}

/// Does what a command does. A thread that a script left may be inside a call:
/// the process ends without waiting for it.
///
/// # Errors
/// Those of the work, and where the system has no threads to give.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(work);
    std::mem::forget(runtime);
    result
}

/// A run that is being told of.
pub struct Telling {
    pub events: Events,
    reports: std::thread::JoinHandle<()>,
}

impl Telling {
    /// Waits until all is told. A script that could not be ended may hold
    /// another sender, and is not waited for.
    pub fn end(self) {
        drop(self.events);
        wait_for(&self.reports);
    }
}

/// Ctrl-C and SIGTERM, as messages; so is the end of the terminal.
pub fn interrupts() -> std::io::Result<mpsc::UnboundedReceiver<Wish>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    for (kind, wish) in [
        (SignalKind::interrupt(), Wish::Interrupt),
        (SignalKind::terminate(), Wish::Terminate),
        (SignalKind::hangup(), Wish::Terminate),
    ] {
        let mut signals = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let _ = sender.send(wish);
            }
        });
    }
    Ok(receiver)
}

/// The reports are done as soon as nobody has anything to say.
pub fn wait_for(reports: &std::thread::JoinHandle<()>) {
    let patience = Duration::from_secs(2);
    let begin = std::time::Instant::now();
    while !reports.is_finished() && begin.elapsed() < patience {
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn exit_code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Passed | Verdict::Left => code::PASSED,
        Verdict::Failed => code::TEST_FAILED,
        Verdict::Broken => code::MACHINERY_FAILED,
        Verdict::Interrupted => code::INTERRUPTED,
    }
}
