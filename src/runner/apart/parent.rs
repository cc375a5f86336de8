//! Starts the process of a test, passes its events on, and ends it: when the user wants that, and when it does not end
//! by itself.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::child::TEST_PROCESS;
use super::messages::{FromTest, ToTest};
use crate::child::{self, THIS_PROGRAM, describe_end};
use crate::decoder::unfinished;
use crate::event_bus::Events;
use crate::model::event::{Event, Failure, Verdict, round};
use crate::runner::error::RunnerError;
use crate::runner::interrupts::InterruptSource;
use crate::session::{Interrupt, RunOutcome, StartPoint, TestInput};

/// How long after the end of the process something else may hold its output open.
const LEAK_LIMIT: Duration = Duration::from_millis(200);

/// How long after the end of the process its last events may take.
const EVENTS_LIMIT: Duration = Duration::from_mins(1);

/// How long a process may take to end by itself: its script cleans up, its machines stop, its reports become whole.
const SETTLE_LIMIT: Duration = Duration::from_mins(1);

/// How long a process may take after a second interrupt, or after it has closed its standard output.
const SHORT_LIMIT: Duration = Duration::from_secs(2);

/// The longest line that a script's process prints; more of it is the next line.
const LONGEST_LINE: u64 = 1 << 20;

/// The end of one run of a test.
#[derive(Debug)]
pub struct RunEnd {
    pub outcome: RunOutcome,
    /// Whether a process of the script was left that held its output open.
    pub leaky: bool,
}

/// Runs a test in a process of its own, whose events are emitted here.
///
/// # Errors
/// Returns an error if the process cannot be started, or the test not be begun.
pub async fn run_apart(
    input: &TestInput,
    events: &Events,
    interrupts: &mut impl InterruptSource,
) -> Result<RunEnd, RunnerError> {
    let failed = || RunnerError::host("cannot start the process of a test");
    let begin = Instant::now();
    let mut child = start().map_err(failed())?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (Some(stdout), Some(stderr), Some(mut stdin)) = (stdout, stderr, child.stdin.take()) else {
        return Err(failed()(io::Error::other("it has no pipes")));
    };
    let (said, seen) = watch::channel(Seen::default());
    let mut reader = tokio::spawn(pass_events(stdout, events.clone(), said));
    let mut output = tokio::spawn(pass_output(stderr, events.clone()));
    let message = ToTest {
        input: input.clone(),
        start_ns: events.start_ns(),
    };
    let text = serde_json::to_vec(&message).map_err(|error| failed()(error.into()))?;
    tokio::spawn(async move {
        // A process that ends early is seen below.
        let _ = stdin.write_all(&text).await;
    });
    let waiting = Waiting {
        pid: child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .map(Pid::from_raw),
        limit: input.global_timeout(),
        seen,
    };
    let waited = waiting
        .wait(&mut child, interrupts)
        .await
        .map_err(failed())?;
    let end = last_events(&mut reader, interrupts).await;
    let leaky = tokio::time::timeout(LEAK_LIMIT, &mut output).await.is_err();
    output.abort();
    let verdict = match (end, waited.cause) {
        (Some(FromTest::Ended(outcome)), _) => return Ok(RunEnd { outcome, leaky }),
        (Some(FromTest::Failed(message)), _) => return Err(RunnerError::NotBegun(message)),
        (Some(FromTest::Event(_)) | None, Some(Cause::Interrupt)) => Verdict::Interrupted,
        (Some(FromTest::Event(_)) | None, Some(Cause::Deadline)) => Verdict::Failed,
        (Some(FromTest::Event(_)) | None, Some(Cause::Silence) | None) => Verdict::Error,
    };
    if waited.cause != Some(Cause::Interrupt) && !waiting.seen.borrow().is_finished {
        let failure = waited.failure(input);
        emit_end(input, verdict, failure, begin.elapsed(), events);
    }
    let outcome = RunOutcome {
        verdict,
        begun: StartPoint::Cold,
        seed: input.seed.given(),
    };
    Ok(RunEnd { outcome, leaky })
}

/// Waits for the last events of a process that has ended: one that the script has forked may hold the pipe open.
async fn last_events(
    reader: &mut JoinHandle<Option<FromTest>>,
    interrupts: &mut impl InterruptSource,
) -> Option<FromTest> {
    let end = tokio::select! {
        end = tokio::time::timeout(EVENTS_LIMIT, &mut *reader) => end.ok(),
        _ = interrupts.next() => None,
    };
    reader.abort();
    end.and_then(Result::ok).flatten()
}

fn start() -> io::Result<Child> {
    let mut command = std::process::Command::new(THIS_PROGRAM);
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

/// The progress of a test by the events of its process.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// How often the test has begun: again when it could not continue from a checkpoint.
    starts: u32,
    is_finished: bool,
    /// Whether there can be no more.
    is_over: bool,
}

/// Why a process was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Interrupt,
    Deadline,
    /// The process has closed its standard output.
    Silence,
}

/// How a process has ended.
struct Waited {
    status: ExitStatus,
    /// `None` if it has ended by itself.
    cause: Option<Cause>,
    /// Whether it was stopped when it was ended.
    was_stopped: bool,
}

/// A process that is waited for.
struct Waiting {
    pid: Option<Pid>,
    /// The limit of the test itself.
    limit: Duration,
    seen: watch::Receiver<Seen>,
}

impl Waiting {
    /// Waits for the end of the process, and brings it about: some time after the test's own limit or an interrupt, and
    /// at once if the process is stopped then.
    async fn wait(
        &self,
        child: &mut Child,
        interrupts: &mut impl InterruptSource,
    ) -> io::Result<Waited> {
        let mut seen = self.seen.clone();
        let mut interrupted: u32 = 0;
        let mut deadline = Instant::now() + self.limit + SETTLE_LIMIT;
        let mut cause = Cause::Deadline;
        let mut killed = None;
        let mut was_stopped = false;
        loop {
            let overdue = Instant::now() + Duration::from_secs(1);
            tokio::select! {
                status = child.wait() => {
                    let cause = killed.or((interrupted > 0).then_some(Cause::Interrupt));
                    return Ok(Waited { status: status?, cause, was_stopped });
                }
                Some(interrupt) = interrupts.next() => {
                    interrupted += 1;
                    cause = Cause::Interrupt;
                    self.signal(interrupt);
                    let limit = if interrupted == 1 { SETTLE_LIMIT } else { SHORT_LIMIT };
                    deadline = deadline.min(Instant::now() + limit);
                }
                Ok(()) = seen.changed() => {
                    let seen = *seen.borrow_and_update();
                    if seen.is_over && !seen.is_finished && interrupted == 0 {
                        cause = Cause::Silence;
                        deadline = deadline.min(Instant::now() + SHORT_LIMIT);
                    } else if interrupted == 0 && !seen.is_finished {
                        deadline = Instant::now() + self.limit + SETTLE_LIMIT;
                    }
                }
                () = tokio::time::sleep_until(overdue.min(deadline)), if killed.is_none() => {
                    let is_due = Instant::now() + SETTLE_LIMIT >= deadline;
                    was_stopped = is_due && self.is_stopped();
                    if was_stopped && interrupted == 0 || Instant::now() >= deadline {
                        self.kill();
                        killed = Some(cause);
                    }
                }
            }
        }
    }

    /// Passes an interrupt on. A process that is stopped hears it, too.
    fn signal(&self, interrupt: Interrupt) {
        let signal = match interrupt {
            Interrupt::CtrlC => Signal::SIGINT,
            Interrupt::Terminate => Signal::SIGTERM,
        };
        if let Some(pid) = self.pid {
            let _ = kill(pid, signal);
            let _ = killpg(pid, Signal::SIGCONT);
        }
    }

    /// Ends the process, and all that its script has started and that did not leave its group.
    fn kill(&self) {
        if let Some(pid) = self.pid {
            let _ = killpg(pid, Signal::SIGKILL);
        }
    }

    fn is_stopped(&self) -> bool {
        let stat = self
            .pid
            .map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")));
        let stat = stat.and_then(Result::ok).unwrap_or_default();
        // The name of the program, in parentheses, may hold any character.
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
        matches!(state, Some(Some('T' | 't')))
    }
}

/// Emits the events of the process; returns its last line.
async fn pass_events(
    stdout: impl AsyncRead + Unpin,
    events: Events,
    seen: watch::Sender<Seen>,
) -> Option<FromTest> {
    let mut lines = BufReader::new(stdout).split(b'\n');
    let mut last = None;
    while let Ok(Some(line)) = lines.next_segment().await {
        match serde_json::from_slice(&line) {
            Ok(FromTest::Event(record)) => {
                events.ready().await;
                seen.send_if_modified(|seen| note(seen, &record.event));
                events.pass(record);
            }
            Ok(end) => {
                seen.send_modify(|seen| seen.is_finished = true);
                last = Some(end);
            }
            Err(_) => {}
        }
    }
    seen.send_modify(|seen| seen.is_over = true);
    last
}

/// Notes what an event says of the test; returns whether it says something.
fn note(seen: &mut Seen, event: &Event) -> bool {
    match event {
        Event::TestStarted { .. } => seen.starts += 1,
        Event::TestFinished { .. } => seen.is_finished = true,
        _ => return false,
    }
    true
}

/// Emits what the script's processes print.
async fn pass_output(stderr: impl AsyncRead + Unpin, events: Events) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    while let Ok(1..) = (&mut reader)
        .take(LONGEST_LINE.saturating_sub(line.len() as u64))
        .read_until(b'\n', &mut line)
        .await
    {
        // The first part of a character belongs to the next line.
        let begun = line.split_off(line.len() - unfinished(&line));
        let text = String::from_utf8_lossy(&line);
        let text = text.strip_suffix('\n').unwrap_or(&text).to_owned();
        events.ready().await;
        events.emit(Event::Output { text });
        line = begun;
    }
    if !line.is_empty() {
        let text = String::from_utf8_lossy(&line).into_owned();
        events.emit(Event::Output { text });
    }
}

impl Waited {
    /// Describes why a test has no end of its own.
    fn failure(&self, input: &TestInput) -> Failure {
        let (kind, message) = match self.cause {
            Some(Cause::Deadline) => (
                "GlobalTimeout",
                format!(
                    "the test took longer than {} s, and the process that runs the script {}: it was killed",
                    input.global_timeout().as_secs_f64(),
                    if self.was_stopped {
                        "is stopped (by SIGSTOP, or another signal for that)"
                    } else {
                        "does not end"
                    }
                ),
            ),
            Some(Cause::Silence) => (
                "ProcessEnded",
                "the process that ran the script has closed what it reports with: it was killed"
                    .to_owned(),
            ),
            Some(Cause::Interrupt) | None => (
                "ProcessEnded",
                format!(
                    "the process that ran the script has ended {}",
                    describe_end(self.status)
                ),
            ),
        };
        Failure {
            kind: kind.to_owned(),
            message,
            ..Failure::default()
        }
    }
}

/// Emits the end of a test whose process did not come to it.
fn emit_end(
    input: &TestInput,
    verdict: Verdict,
    failure: Failure,
    duration: Duration,
    events: &Events,
) {
    events.emit(Event::TestFinished {
        test: input.manifest.name.clone(),
        verdict,
        duration_s: round(duration.as_secs_f64()),
        failures: vec![failure],
        subtests: Vec::new(),
        output: input.output_folder.clone(),
        debug: None,
    });
}
