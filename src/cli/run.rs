//! `snowglobe run`: evaluates, builds and runs tests, and tells the verdict.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::check::surroundings;
use super::error::{Failed, code};
use super::findings::{count, show, stops};
use super::source::{Prepared, Source};
use crate::event::{Events, Level, Verdict};
use crate::language::check::{Parts, Severity, check};
use crate::nix::{self, Nix, Test};
use crate::qemu::AcceleratorChoice;
use crate::report::{Colours, Detail, JsonDisplay, Output, PlainDisplay, Report, TerminalDisplay};
use crate::script::{AfterFailure, Subtests};
use crate::{report, session};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines for people, with live progress on a terminal.
    Human,
    /// The stream of events, a JSON object a line.
    Json,
}

#[derive(Debug, Args)]
pub struct RunCommand {
    #[command(flatten)]
    source: Source,
    /// Where the output goes: consoles, events, junit.xml, saved files [default: ./result-NAME].
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
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

impl RunCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let prepared = self.source.prepare()?;
        let runtime = tokio::runtime::Runtime::new()?;
        let result = runtime.block_on(self.run_all(prepared));
        // A thread that a script left may be inside a call: the process ends
        // without waiting for it.
        std::mem::forget(runtime);
        result
    }

    async fn run_all(&self, prepared: Prepared) -> Result<ExitCode, Failed> {
        let mut interrupts = interrupts()?;
        // What is wrong with the command line is told first.
        self.subtests()?;
        let work = async {
            let tests =
                nix::evaluate(&prepared.nix, &prepared.library, &prepared.evaluation).await?;
            for test in &tests {
                self.check(test)?;
                session::preflight(&test.manifest)?;
            }
            Ok::<_, Failed>(tests)
        };
        let tests = tokio::select! {
            tests = work => tests?,
            _ = interrupts.recv() => return Ok(ExitCode::from(code::INTERRUPTED)),
        };
        let mut worst = code::PASSED;
        for test in &tests {
            let folder = self.folder(test, tests.len());
            let verdict = self
                .run_one(&prepared.nix, test, folder, &mut interrupts)
                .await?;
            let code = exit_code(verdict);
            worst = worst.max(code);
            if verdict == Verdict::Interrupted {
                break;
            }
        }
        Ok(ExitCode::from(worst))
    }

    /// Says what is wrong with a script.
    ///
    /// # Errors
    /// When it cannot run as it is.
    fn check(&self, test: &Test) -> Result<(), Failed> {
        let parts = if self.no_check {
            Parts::NONE
        } else {
            Parts::of(&test.manifest)
        };
        let mut findings = check(&test.script, &surroundings(&test.manifest), parts);
        // Notes are for who asks for a check.
        findings.retain(|finding| finding.level > Severity::Note);
        let colours = if console::colors_enabled_stderr() {
            Colours::On
        } else {
            Colours::Off
        };
        let origin = test.origin();
        for finding in &findings {
            eprintln!("{}", show(finding, &origin, colours));
        }
        if stops(&findings) {
            return Err(Failed::Usage(format!(
                "the script of {} cannot run as it is: {}",
                test.label(),
                count(&findings)
            )));
        }
        Ok(())
    }

    /// Which subtests run, and what follows on a failed one.
    fn subtests(&self) -> Result<Subtests, Failed> {
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

    async fn run_one(
        &self,
        nix: &Nix,
        test: &Test,
        folder: PathBuf,
        interrupts: &mut mpsc::UnboundedReceiver<()>,
    ) -> Result<Verdict, Failed> {
        let output = Output::create(&folder, &test.name)?;
        let (root, output_folder) = (output.root(), output.folder().to_owned());
        let (sender, receiver) = channel();
        let events = Events::new(sender);
        let reports = report::spawn(receiver, vec![self.display(), Box::new(output)])?;
        let tell = |event| events.tell(event);
        let built = tokio::select! {
            built = nix::build(nix, &test.derivation, &root, &tell) => Some(built),
            _ = interrupts.recv() => None,
        };
        let result = match built {
            None => {
                events.note(Level::Warning, "interrupted while building");
                Ok(Verdict::Interrupted)
            }
            Some(Err(error)) => Err(error.into()),
            Some(Ok(manifest)) => {
                let limit = self.global_timeout.unwrap_or(manifest.global_timeout_s);
                let accelerator = AcceleratorChoice::detect();
                let options = session::Options {
                    origin: Arc::new(test.origin()),
                    subtests: self.subtests()?,
                    output_folder,
                    global_timeout: Duration::from_secs(limit),
                    timeout_scale: match self.timeout_scale {
                        TimeoutScale::Auto => accelerator.accelerator.slowness(),
                        TimeoutScale::By(factor) => factor,
                    },
                    accelerator,
                };
                session::run(&manifest, &options, &events, interrupts)
                    .await
                    .map_err(Failed::from)
            }
        };
        // The last sender: the reports end after what is on its way. A script
        // that could not be ended holds another, and is not waited for.
        drop(events);
        wait_for(&reports);
        result
    }

    fn folder(&self, test: &Test, count: usize) -> PathBuf {
        let label = test.label();
        match &self.output {
            Some(folder) if count == 1 => folder.clone(),
            Some(folder) => folder.join(file_name(label)),
            None if count == 1 => PathBuf::from(format!("result-{}", file_name(&test.name))),
            None => PathBuf::from(format!("result-{}", file_name(label))),
        }
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
            Format::Human => Box::new(PlainDisplay::new(detail)),
        }
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
