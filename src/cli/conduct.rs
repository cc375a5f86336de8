//! How a built test is run and told: what `run` and `driver` share.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::check::surroundings;
use super::error::{Failed, code};
use super::findings::{count, show, stops};
use crate::event::{Events, Verdict};
use crate::language::check::{Parts, Severity, check};
use crate::manifest::Manifest;
use crate::origin::Origin;
use crate::qemu::AcceleratorChoice;
use crate::report::{Colours, Detail, JsonDisplay, Output, PlainDisplay, Report, TerminalDisplay};
use crate::script::{AfterFailure, Subtests};
use crate::{report, session};

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
    pub fn tell(&self, output: Output) -> std::io::Result<Telling> {
        let (sender, receiver) = channel();
        let reports = report::spawn(receiver, vec![self.display(), Box::new(output)])?;
        Ok(Telling {
            events: Events::new(sender),
            reports,
        })
    }

    /// Runs a built test to its end.
    ///
    /// # Errors
    /// When it could not be begun.
    pub async fn run(
        &self,
        manifest: &Manifest,
        origin: Origin,
        output_folder: PathBuf,
        events: &Events,
        interrupts: &mut mpsc::UnboundedReceiver<()>,
    ) -> Result<Verdict, Failed> {
        let limit = self.global_timeout.unwrap_or(manifest.global_timeout_s);
        let accelerator = AcceleratorChoice::detect();
        let options = session::Options {
            origin: Arc::new(origin),
            subtests: self.subtests()?,
            output_folder,
            global_timeout: Duration::from_secs(limit),
            timeout_scale: match self.timeout_scale {
                TimeoutScale::Auto => accelerator.accelerator.slowness(),
                TimeoutScale::By(factor) => factor,
            },
            accelerator,
        };
        Ok(session::run(manifest, &options, events, interrupts).await?)
    }

    fn display(&self) -> Box<dyn Report> {
        let detail = if self.verbose {
            Detail::Everything
        } else {
            Detail::Normal
        };
        let terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        match self.format {
            Format::Json => Box::new(JsonDisplay),
            Format::Human if terminal => Box::new(TerminalDisplay::new(detail)),
            Format::Human | Format::Plain => Box::new(PlainDisplay::new(detail)),
        }
    }
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

/// Ctrl-C and SIGTERM, as messages.
pub fn interrupts() -> std::io::Result<mpsc::UnboundedReceiver<()>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut signals = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let _ = sender.send(());
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
        Verdict::Passed => code::PASSED,
        Verdict::Failed => code::TEST_FAILED,
        Verdict::Broken => code::MACHINERY_FAILED,
        Verdict::Interrupted => code::INTERRUPTED,
    }
}
