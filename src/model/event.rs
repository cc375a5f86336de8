//! Events as data: displays and reports see nothing else.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::conversation::Conversation;
use super::fault_counts::FaultCounts;
pub use super::outcome::Verdict;
use super::outcome::{RunResults, TestResult};

/// One thing that happened. In JSON, `event` holds its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Nix began to build a derivation.
    BuildStarted {
        derivation: String,
    },
    /// A line of a build's log.
    BuildLog {
        derivation: String,
        line: String,
    },
    /// A build ended, well or not.
    BuildFinished {
        derivation: String,
    },
    /// How many of the builds are done.
    BuildProgress {
        done: u64,
        expected: u64,
    },
    /// The starting point of a run: its first event.
    Begun {
        /// None where the machines boot.
        checkpoint: Option<Restored>,
        /// Why it is cold, if the user should know.
        reason: Option<String>,
    },
    /// A test begins to run; everything it needs is built.
    TestStarted {
        test: String,
        nodes: Vec<String>,
        accelerator: String,
        /// The factor for default timeouts.
        timeout_factor: f64,
    },
    /// QEMU runs.
    MachineStarted {
        machine: String,
        pid: u32,
    },
    /// The machine's shell answers.
    MachineReady {
        machine: String,
        after_s: f64,
    },
    /// QEMU has ended.
    MachineStopped {
        machine: String,
        status: String,
        /// Whether Snowglobe has ended it, or the guest by powering off.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        wanted: bool,
    },
    /// A line on the machine's serial console.
    Console {
        machine: String,
        line: String,
    },
    /// The script asked for something that takes time.
    StepStarted {
        id: u64,
        machine: Option<String>,
        text: String,
    },
    /// The step is done, or failed.
    StepFinished {
        id: u64,
        duration_s: f64,
    },
    /// The script printed something.
    Output {
        text: String,
    },
    /// The script or the program has something to say.
    Note {
        machine: Option<String>,
        level: Level,
        text: String,
    },
    SubtestStarted {
        name: String,
    },
    SubtestFinished {
        name: String,
        duration_s: f64,
        failure: Option<Box<Failure>>,
    },
    /// A subtest was left out, as `--only` wants it.
    SubtestSkipped {
        name: String,
    },
    /// From now on consoles are shown, or not: one machine's, or all.
    ConsolesShown {
        machine: Option<String>,
        shown: bool,
    },
    /// A prompt waits for the user.
    Prompting,
    /// Input of the user has failed; the session continues.
    CallFailed {
        failure: Box<Failure>,
    },
    /// The user's terminal was attached to a machine, or detached.
    TerminalAttached {
        machine: String,
        attached: bool,
    },
    /// A call that a run without machines wrote down instead of making it.
    Called {
        machine: String,
        method: String,
        arguments: serde_json::Value,
    },
    /// A call of the script to a machine has ended. Long texts in it are cut.
    CallEnded {
        machine: String,
        method: String,
        arguments: serde_json::Value,
        /// The line of the script, from 1; `None` for a call that no line makes.
        line: Option<u32>,
        duration_s: f64,
        /// The value that the script gets, or the exception's message.
        result: String,
        failed: bool,
    },
    /// The script, line by line.
    ScriptSource {
        lines: Vec<SourceLine>,
    },
    /// A display shows something else: a picture of it.
    ScreenTaken {
        machine: String,
        path: PathBuf,
    },
    /// The machines were saved as they are.
    CheckpointTaken {
        name: String,
        duration_s: f64,
    },
    /// All machines became as they were at a checkpoint.
    Rewound {
        name: String,
        duration_s: f64,
    },
    /// A fault has begun that the script asked for: of links, of a machine or of a disk.
    FaultStarted {
        /// The number of the fault in its run, from 1.
        id: u64,
        text: String,
        /// The machines that are in the fault.
        machines: Vec<String>,
    },
    /// A fault is healed.
    FaultFinished {
        id: u64,
        duration_s: f64,
        counts: FaultCounts,
    },
    /// The last packets of all networks were saved.
    CaptureSaved {
        path: PathBuf,
        packets: u64,
        /// Packets before those, for which there was no room.
        missing: u64,
        /// The conversations in the packets, largest first.
        conversations: Vec<Conversation>,
    },
    /// The seed of all random numbers of a run, if the run draws any.
    Seeded {
        seed: u64,
    },
    /// A file was put into the output folder.
    FileSaved {
        path: PathBuf,
    },
    /// A file of the output folder cannot be written.
    OutputLost {
        path: PathBuf,
        reason: String,
    },
    /// A cold run has checked the verdict of one that began at a checkpoint.
    Verified {
        from_checkpoint: Verdict,
        cold: Verdict,
    },
    /// The tests have run; the next change of one of their files runs them again.
    Watching {
        files: usize,
    },
    /// A file has changed: the tests run again.
    Changed,
    /// A run of several tests starts.
    RunStarted {
        /// How many run side by side at most.
        jobs: usize,
    },
    /// The tests of the run are known.
    TestsFound {
        tests: usize,
        /// How long they take one after another, if some have passed before.
        expected_s: Option<f64>,
        /// How long a test takes of which nothing is known: as most others.
        typical_s: Option<f64>,
    },
    /// An attempt at a test has not passed, and another one follows.
    Retrying {
        /// The number of the next attempt, from 1.
        attempt: u32,
        attempts: u32,
    },
    /// A test takes longer than its `slow-timeout`.
    Slow {
        after_s: f64,
    },
    /// A test of several has ended, with all its attempts.
    TestEnded {
        result: Box<TestResult>,
    },
    /// The report for people is written.
    ReportWritten {
        path: PathBuf,
    },
    /// All tests of the run have ended.
    RunFinished {
        results: Box<RunResults>,
        output: PathBuf,
    },
    /// The script is over and the machines are stopped.
    TestFinished {
        test: String,
        verdict: Verdict,
        duration_s: f64,
        /// More than one where the run went on after failed subtests.
        failures: Vec<Failure>,
        /// The subtests that ran, in order of their ends.
        subtests: Vec<Subtest>,
        output: PathBuf,
        /// The command that opens the prompt before the failure, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        debug: Option<String>,
    },
}

impl Event {
    /// A note without a machine.
    pub fn note(level: Level, text: impl Into<String>) -> Self {
        Self::Note {
            machine: None,
            level,
            text: text.into(),
        }
    }
}

/// A checkpoint that a run starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Restored {
    pub name: String,
    /// Seconds since it was taken.
    pub age_s: u64,
    /// Machines that boot, as they are others than then.
    pub booting: Vec<String>,
}

/// A line of the script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SourceLine {
    pub text: String,
    /// The file that the line comes from, if it was found, and its line there.
    pub file: Option<PathBuf>,
    pub file_line: Option<usize>,
}

/// How loud a note is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Info,
    Warning,
    Error,
}

/// A subtest that has run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Subtest {
    pub name: String,
    pub duration_s: f64,
    pub passed: bool,
}

/// Why a test did not pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Failure {
    /// The exception's type, or what else ended the test.
    pub kind: String,
    pub message: String,
    /// The subtest in which it happened.
    pub subtest: Option<String>,
    /// The statement of the script that failed.
    pub statement: Option<Excerpt>,
    /// The exceptions that led to this one, the nearest first.
    pub causes: Vec<Cause>,
    /// The expressions of a failed assertion, and their values.
    pub variables: Vec<(String, String)>,
    /// The difference of both sides of a comparison, by lines.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub difference: String,
    /// Details beyond the message.
    #[serde(flatten)]
    pub details: Details,
    /// The last lines of the consoles of the machines involved.
    pub console: Vec<ConsoleTail>,
    /// The calls that led there, outermost first.
    pub traceback: Vec<Frame>,
    /// Files that were saved because of it: pictures, outputs that are too long to show.
    pub files: Vec<PathBuf>,
}

/// An exception that another one came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cause {
    pub kind: String,
    pub message: String,
    /// Where the script raised it.
    pub at: Option<Frame>,
}

/// Details of a failed operation on a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Details {
    /// The machine that it is about.
    pub machine: Option<String>,
    pub command: Option<CommandResult>,
    pub unit: Option<UnitState>,
    /// Units of the machine that have failed when a wait ran out of time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed_units: Vec<UnitState>,
}

/// A command of the script with its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CommandResult {
    pub command: String,
    /// None where it did not end.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The state of a unit of systemd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UnitState {
    pub unit: String,
    /// The output of `systemctl status`.
    pub status: String,
    /// The end of its journal.
    pub journal: String,
}

/// Lines of a file, with a part of them that is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Excerpt {
    /// None for the script itself, if its file was not found.
    pub file: Option<PathBuf>,
    pub start: Position,
    /// The first position after what is meant.
    pub end: Position,
    /// The number of the first of `lines`.
    pub first_line: usize,
    pub lines: Vec<String>,
}

/// A position in a text, from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// One call on the way to a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Frame {
    pub function: String,
    /// Within the script, from 1.
    pub line: u32,
    pub source: String,
    /// The file that the line comes from, if it was found, and its line there.
    pub file: Option<PathBuf>,
    pub file_line: Option<usize>,
}

/// The end of a console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ConsoleTail {
    pub machine: String,
    pub lines: Vec<String>,
}

/// An event and when it happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Record {
    /// Seconds since the program started.
    pub time_s: f64,
    /// The test's label, in the stream of a run of several tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(flatten)]
    pub event: Event,
}

/// Returns a text about a machine, which it names first; `None` for a text about none.
#[must_use]
pub fn about(machine: Option<&str>, text: &str) -> String {
    match machine {
        Some(machine) => format!("{machine}: {text}"),
        None => text.to_owned(),
    }
}

/// Milliseconds are enough for people and keep the stream short.
#[must_use]
pub fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
