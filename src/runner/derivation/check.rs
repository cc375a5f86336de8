//! One test as a build: its derivation, and what comes of it.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bounded_file::for_each_line;
use crate::config::TestPolicy;
use crate::confined::{ModeBits, OpenFolder};
use crate::model::event::{Event, Level, Record, Verdict};
use crate::model::outcome::{Attempt, Outcome, TestResult};
use crate::nix_cli::{self, BuildError, NamedDerivation, Nix, TestNames};
use crate::output_folder::{EVENTS, TAG};
use crate::report::{Output, Reports, VERDICT_MARK};
use crate::runner::checked_test::{left_out, not_run, policy_of};
use crate::runner::ends::TestEnd;
use crate::runner::error::RunnerError;
use crate::runner::interrupts::Interrupts;
use crate::runner::reports::wait_until_shown;
use crate::runner::request::{RunRequest, TestSelection};

/// The whole log of a build that failed, in the output folder.
const LOG: &str = "build.log";

/// A test as the derivation that runs it.
pub(super) struct FoundCheck<'a> {
    pub request: &'a RunRequest,
    pub selection: &'a TestSelection,
    pub label: String,
    pub names: TestNames,
    pub check: NamedDerivation,
}

impl FoundCheck<'_> {
    /// How its build has ended: the verdict of the test, if it came to one.
    pub fn end(&self, result: Result<CheckEnd, RunnerError>, folder: &Path) -> TestEnd {
        match result {
            Err(error) => not_run(
                self.request,
                self.selection,
                &self.label,
                &self.names,
                error,
            ),
            Ok(end) => TestEnd {
                result: self.result_of(&end, folder),
                error: None,
            },
        }
    }

    /// The result of a test whose turn has not come.
    pub fn left_out(&self) -> TestResult {
        left_out(self.selection, &self.label, &self.names)
    }

    fn policy(&self) -> TestPolicy {
        policy_of(self.request, self.selection, &self.label, &self.names, None)
    }

    /// Returns a warning for the user before the test is built.
    pub fn warning(&self) -> Option<Event> {
        let warning = self.policy().warning()?;
        Some(Event::note(Level::Warning, warning))
    }

    fn result_of(&self, end: &CheckEnd, folder: &Path) -> TestResult {
        let policy = self.policy();
        TestResult {
            outcome: Outcome::of_verdict(end.verdict),
            duration_s: end.duration_s,
            attempts: vec![Attempt {
                verdict: end.verdict,
                duration_s: end.duration_s,
                folder: folder.to_owned(),
            }],
            slow: policy
                .slow_timeout
                .is_some_and(|limit| end.duration_s > limit.as_secs_f64()),
            quarantine: policy.quarantine,
            ..self.left_out()
        }
    }
}

/// The verdict of a test that was run as a build.
pub(super) struct CheckEnd {
    verdict: Verdict,
    duration_s: f64,
}

impl CheckEnd {
    pub const INTERRUPTED: Self = Self {
        verdict: Verdict::Interrupted,
        duration_s: 0.0,
    };
}

/// The state of a test's build.
#[derive(Debug)]
pub(super) enum BuildState {
    /// Nix knows, or has to build it.
    Unknown,
    /// A moment ago; another build would take its time for nothing.
    Failed {
        error: BuildError,
        /// Whether it has come to this build, and not only to what it needs.
        has_begun: bool,
    },
}

/// Where the events of one test go.
pub(super) struct CheckDisplay<'a> {
    pub start: &'a dyn Fn(Output) -> Result<Reports, RunnerError>,
    /// After the reports have ended.
    pub show: &'a dyn Fn(Event) -> Result<(), RunnerError>,
}

/// Builds one test, or takes what is built, and brings its output folder here.
pub(super) async fn run_one(
    found: &FoundCheck<'_>,
    state: BuildState,
    folder: &Path,
    display: &CheckDisplay<'_>,
    interrupts: &mut Interrupts,
) -> Result<CheckEnd, RunnerError> {
    let (nix, check) = (&found.selection.nix, &found.check);
    let output = Output::create(folder, &check.name)?;
    let folder = output.folder().to_owned();
    let root = folder.join("result");
    let reports = (display.start)(output)?;
    let begun = matches!(state, BuildState::Failed { has_begun, .. } if has_begun);
    let has_begun = AtomicBool::new(begun);
    let emit = |event: Event| {
        let own = check.derivation.to_str();
        if matches!(&event, Event::BuildStarted { derivation } if Some(derivation.as_str()) == own)
        {
            has_begun.store(true, Ordering::Relaxed);
        }
        reports.events.emit(event);
    };
    let built = match state {
        BuildState::Failed { error, .. } => Some(Err(error)),
        BuildState::Unknown => tokio::select! {
            built = nix_cli::realise(nix, &check.derivation, &root, &emit) => Some(built),
            _ = interrupts.recv() => None,
        },
    };
    let failed = match built {
        None => Some(Ok(CheckEnd::INTERRUPTED)),
        Some(Ok(())) => None,
        Some(Err(error @ BuildError::NoNix(_))) => Some(Err(error.into())),
        // Nix keeps the logs of earlier builds, too: they say nothing of this one.
        Some(Err(error)) if !has_begun.load(Ordering::Relaxed) => Some(Err(error.into())),
        Some(Err(error)) => Some(failed(nix, &emit, check, &folder, error)),
    };
    let (output, showing) = reports
        .end()
        .map_err(RunnerError::host_at("cannot write", &folder))?;
    wait_until_shown(showing, interrupts).await?;
    let result = failed.unwrap_or_else(|| passed(display.show, &root, &folder));
    output.map_or(Ok(()), Output::finish)?;
    result
}

/// Brings the output folder of a build here, and shows how its test ended.
fn passed(
    show: &dyn Fn(Event) -> Result<(), RunnerError>,
    root: &Path,
    folder: &Path,
) -> Result<CheckEnd, RunnerError> {
    bring_back(root, folder).map_err(RunnerError::host_at("cannot copy to", folder))?;
    let events = folder.join(EVENTS);
    let end = last_end(&events).map_err(RunnerError::host_at("cannot read", &events))?;
    let end = end.ok_or_else(|| {
        RunnerError::host_at("cannot use", &events)(io::Error::other(
            "it does not hold the test's end",
        ))
    })?;
    let (end, event) = placed(end, folder);
    show(event)?;
    Ok(end)
}

/// Emits how the test of a failed build ended; a build that did not come to
/// its test has failed as a build.
fn failed(
    nix: &Nix,
    emit: &dyn Fn(Event),
    check: &NamedDerivation,
    folder: &Path,
    error: BuildError,
) -> Result<CheckEnd, RunnerError> {
    let log = nix_cli::build_log(nix, &check.derivation)?;
    // A build that Nix refuses has none.
    if !log.is_empty() {
        let path = folder.join(LOG);
        fs::write(&path, &log).map_err(RunnerError::host_at("cannot write", &path))?;
        emit(Event::FileSaved { path });
    }
    let Some(end) = end_in_log(&log) else {
        return Err(error.into());
    };
    let (end, event) = placed(end, folder);
    // A build that fails after its test has passed gives nothing.
    if end.verdict == Verdict::Passed {
        return Err(error.into());
    }
    emit(event);
    Ok(end)
}

/// The end of a test as if it had run here.
fn placed(mut event: Event, folder: &Path) -> (CheckEnd, Event) {
    let mut end = CheckEnd {
        verdict: Verdict::Error,
        duration_s: 0.0,
    };
    if let Event::TestFinished {
        verdict,
        output,
        duration_s,
        ..
    } = &mut event
    {
        end.verdict = *verdict;
        end.duration_s = *duration_s;
        folder.clone_into(output);
    }
    (end, event)
}

/// The event of the test's end in a file of events.
fn last_end(events: &Path) -> io::Result<Option<Event>> {
    let mut end = None;
    for_each_line(events, |_, line| {
        end = end_of(&String::from_utf8_lossy(line)).or(end.take());
        Ok::<_, io::Error>(())
    })?;
    Ok(end)
}

/// The event of the test's end in the log of a build.
pub(super) fn end_in_log(log: &str) -> Option<Event> {
    let mut marked = log
        .lines()
        .rev()
        .filter_map(|line| line.strip_prefix(VERDICT_MARK));
    marked.find_map(end_of)
}

fn end_of(line: &str) -> Option<Event> {
    let record: Record = serde_json::from_str(line).ok()?;
    matches!(record.event, Event::TestFinished { .. }).then_some(record.event)
}

/// Copies what the build has left into the output folder, so that it holds
/// what that of a run here would.
fn bring_back(from: &Path, to: &Path) -> io::Result<()> {
    let from = OpenFolder::open(&fs::canonicalize(from)?)?;
    let to = OpenFolder::open(to)?;
    for name in from.names()?.into_iter().filter(|name| name != TAG) {
        from.copy_to(&name, &to, &name, ModeBits::Writable)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn links_and_modes_come_back() {
        let from = tempfile::tempdir().unwrap();
        let to = tempfile::tempdir().unwrap();
        fs::create_dir(from.path().join("folder")).unwrap();
        fs::write(from.path().join("folder/program"), "x").unwrap();
        let read_only = Permissions::from_mode(0o555);
        fs::set_permissions(from.path().join("folder/program"), read_only).unwrap();
        symlink("nowhere", from.path().join("broken")).unwrap();
        symlink(".", from.path().join("folder/self")).unwrap();
        fs::write(from.path().join(TAG), "of the build").unwrap();
        bring_back(from.path(), to.path()).unwrap();
        let link = |name: &str| fs::read_link(to.path().join(name)).unwrap();
        assert_eq!(link("broken"), Path::new("nowhere"));
        assert_eq!(link("folder/self"), Path::new("."));
        let program = fs::metadata(to.path().join("folder/program")).unwrap();
        assert_eq!(program.permissions().mode() & 0o777, 0o755);
        assert!(!to.path().join(TAG).exists());
    }

    #[test]
    fn the_verdict_is_read_from_the_marked_event() {
        let log = "running x\n@snowglobe {\"time_s\":1.0,\"event\":\"test_finished\",\"test\":\"x\",                   \"verdict\":\"failed\",\"duration_s\":3.0,\"failures\":[],\"subtests\":[],                   \"output\":\"/nix/store/x\"}\npassed: x (3.0 s)\n @snowglobe {}\n";
        let Some(Event::TestFinished { verdict, .. }) = end_in_log(log) else {
            panic!("there is no end in the log");
        };
        assert_eq!(verdict, Verdict::Failed);
        assert_eq!(end_in_log("passed: x (3.0 s)\n@snowglobe {}\n"), None);
    }
}
