//! Starts the process of a test, passes its events on, and ends it when the user interrupts.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::broadcast;

use super::child::TEST_PROCESS;
use super::plan::{FromTest, TestPlan};
use crate::child;
use crate::event_bus::Events;
use crate::model::event::{Event, Failure, Verdict};
use crate::runner::error::RunnerError;
use crate::session::{Interrupt, RunOutcome, StartPoint};

/// How long after the end of the process something else may hold its output open.
const LEAK_LIMIT: Duration = Duration::from_millis(200);

/// How long after the end of the process its last events may take.
const EVENTS_LIMIT: Duration = Duration::from_mins(1);

/// The longest line that a script's process prints; more of it is the next line.
const LONGEST_LINE: u64 = 1 << 20;

/// How the process of a test has ended.
#[derive(Debug)]
pub struct ApartEnd {
    pub outcome: RunOutcome,
    /// Whether a process of the script was left that held its output open.
    pub leaky: bool,
}

/// Runs a planned test in a process of its own, whose events are emitted here.
///
/// # Errors
/// When the process cannot be started, or the test not be begun.
pub async fn run_apart(
    plan: &TestPlan,
    events: &Events,
    interrupts: &mut broadcast::Receiver<Interrupt>,
) -> Result<ApartEnd, RunnerError> {
    let failed = || RunnerError::host("cannot start the process of a test");
    let mut child = start().map_err(failed())?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (Some(stdout), Some(stderr), Some(mut stdin)) = (stdout, stderr, child.stdin.take()) else {
        return Err(failed()(io::Error::other("it has no pipes")));
    };
    let reader = tokio::spawn(pass_events(stdout, events.clone()));
    let mut output = tokio::spawn(pass_output(stderr, events.clone()));
    let text = serde_json::to_vec(plan).map_err(|error| failed()(error.into()))?;
    // A process that ends early is seen below.
    let _ = stdin.write_all(&text).await;
    drop(stdin);
    let Waited {
        status,
        is_interrupted,
    } = wait(&mut child, interrupts).await.map_err(failed())?;
    // A process that the script has forked may hold the pipe open.
    let end = tokio::time::timeout(EVENTS_LIMIT, reader).await;
    let end = end.ok().and_then(Result::ok).flatten();
    let leaky = tokio::time::timeout(LEAK_LIMIT, &mut output).await.is_err();
    output.abort();
    let outcome = match end {
        Some(FromTest::Ended(outcome)) => outcome,
        Some(FromTest::Failed(message)) => return Err(RunnerError::NotBegun(message)),
        Some(FromTest::Event(_)) | None if is_interrupted => RunOutcome {
            verdict: Verdict::Interrupted,
            begun: StartPoint::Cold,
        },
        Some(FromTest::Event(_)) | None => died(plan, status, events),
    };
    Ok(ApartEnd { outcome, leaky })
}

fn start() -> io::Result<Child> {
    // This program, also if its file has been replaced meanwhile.
    let mut command = std::process::Command::new("/proc/self/exe");
    command
        .arg(TEST_PROCESS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C reaches it from here alone.
        .process_group(0);
    child::die_with_parent(&mut command, Signal::SIGKILL);
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    command.spawn()
}

/// How a process has ended.
struct Waited {
    status: ExitStatus,
    /// Whether it was asked to.
    is_interrupted: bool,
}

async fn wait(
    child: &mut Child,
    interrupts: &mut broadcast::Receiver<Interrupt>,
) -> io::Result<Waited> {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let mut is_interrupted = false;
    loop {
        tokio::select! {
            status = child.wait() => {
                return Ok(Waited {
                    status: status?,
                    is_interrupted,
                });
            }
            Ok(interrupt) = interrupts.recv() => {
                is_interrupted = true;
                let signal = match interrupt {
                    Interrupt::CtrlC => Signal::SIGINT,
                    Interrupt::Terminate => Signal::SIGTERM,
                };
                if let Some(pid) = pid {
                    let _ = kill(Pid::from_raw(pid), signal);
                }
            }
        }
    }
}

/// Emits the events of the process; returns its last line.
async fn pass_events(stdout: impl AsyncRead + Unpin, events: Events) -> Option<FromTest> {
    let mut lines = BufReader::new(stdout).lines();
    let mut last = None;
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(FromTest::Event(record)) => {
                events.ready().await;
                events.emit(record.event);
            }
            Ok(end) => last = Some(end),
            Err(_) => {}
        }
    }
    last
}

/// Emits what the script's processes print.
async fn pass_output(stderr: impl AsyncRead + Unpin, events: Events) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    while let Ok(1..) = (&mut reader)
        .take(LONGEST_LINE)
        .read_until(b'\n', &mut line)
        .await
    {
        let text = String::from_utf8_lossy(&line);
        let text = text.strip_suffix('\n').unwrap_or(&text).to_owned();
        events.ready().await;
        events.emit(Event::Output { text });
        line.clear();
    }
}

/// The end of a test whose process did not come to it.
fn died(plan: &TestPlan, status: ExitStatus, events: &Events) -> RunOutcome {
    let how = match status.signal() {
        Some(signal) => match Signal::try_from(signal) {
            Ok(signal) => format!("by {signal}"),
            Err(_) => format!("by signal {signal}"),
        },
        None => format!("with the exit code {}", status.code().unwrap_or_default()),
    };
    let failure = Failure {
        kind: "ProcessEnded".to_owned(),
        message: format!("the process that ran the script has ended {how}"),
        ..Failure::default()
    };
    events.emit(Event::TestFinished {
        test: plan.manifest.name.clone(),
        verdict: Verdict::Error,
        duration_s: 0.0,
        failures: vec![failure],
        subtests: Vec::new(),
        output: plan.output_folder.clone(),
    });
    RunOutcome {
        verdict: Verdict::Error,
        begun: StartPoint::Cold,
    }
}
