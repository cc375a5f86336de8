//! One test as a build: its derivation, and what comes of it.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::broadcast;

use crate::bounded_file::for_each_line;
use crate::confined::{ModeBits, OpenFolder};
use crate::model::event::{Event, Record, Verdict};
use crate::nix_cli::{self, BuildError, NamedDerivation, Nix};
use crate::output_folder::{EVENTS, TAG};
use crate::report::{Output, VERDICT_MARK};
use crate::runner::error::RunnerError;
use crate::runner::interrupts::unless_interrupted;
use crate::runner::reports::of_run::TestReports;
use crate::session::Interrupt;

/// The whole log of a build that failed, in the output folder.
const LOG: &str = "build.log";

/// The verdict of a test that was run as a build.
pub(super) struct CheckEnd {
    pub verdict: Verdict,
    pub duration_s: f64,
}

impl CheckEnd {
    const INTERRUPTED: Self = Self {
        verdict: Verdict::Interrupted,
        duration_s: 0.0,
    };
}

/// The state of a test's build.
#[derive(Debug)]
pub(super) enum BuildState {
    /// Nix knows, or has to build it.
    Unknown,
    /// The user has ended it.
    Interrupted,
    /// A moment ago; another build would take its time for nothing.
    Failed {
        error: BuildError,
        /// Whether it has come to this build, and not only to what it needs.
        has_begun: bool,
    },
}

/// Builds one test, or takes what is built, and brings its output folder here. Its end is shown when its reports are whole.
pub(super) async fn run_check(
    nix: &Nix,
    check: &NamedDerivation,
    state: BuildState,
    own: TestReports,
    show: &dyn Fn(Event),
    interrupts: &mut broadcast::Receiver<Interrupt>,
) -> Result<CheckEnd, RunnerError> {
    let folder = own.folder.clone();
    let root = folder.join("result");
    let begun = matches!(state, BuildState::Failed { has_begun, .. } if has_begun);
    let has_begun = AtomicBool::new(begun);
    let emit = |event: Event| {
        let derivation = check.derivation.to_str();
        if matches!(&event, Event::BuildStarted { derivation: started } if Some(&**started) == derivation)
        {
            has_begun.store(true, Ordering::Relaxed);
        }
        own.reports.events.emit(event);
    };
    let built = match state {
        BuildState::Failed { error, .. } => Some(Err(error)),
        BuildState::Interrupted => None,
        BuildState::Unknown => {
            let work = nix_cli::realise(nix, &check.derivation, &root, &emit);
            unless_interrupted(work, interrupts).await
        }
    };
    let failed = match built {
        None => Some(Ok(CheckEnd::INTERRUPTED)),
        Some(Ok(())) => None,
        Some(Err(error @ BuildError::NoNix(_))) => Some(Err(error.into())),
        // Nix keeps the logs of earlier builds, too: they say nothing of this one.
        Some(Err(error)) if !has_begun.load(Ordering::Relaxed) => Some(Err(error.into())),
        Some(Err(error)) => Some(failed(nix, &emit, check, &folder, error)),
    };
    let (output, _) = own
        .reports
        .end()
        .map_err(RunnerError::host_at("cannot write", &folder))?;
    let result = failed.unwrap_or_else(|| passed(show, &root, &folder));
    output.map_or(Ok(()), Output::finish)?;
    result
}

/// Brings the output folder of a build here, and shows how its test ended.
fn passed(show: &dyn Fn(Event), root: &Path, folder: &Path) -> Result<CheckEnd, RunnerError> {
    bring_back(root, folder).map_err(RunnerError::host_at("cannot copy to", folder))?;
    let events = folder.join(EVENTS);
    let end = last_end(&events).map_err(RunnerError::host_at("cannot read", &events))?;
    let end = end.ok_or_else(|| {
        RunnerError::host_at("cannot use", &events)(io::Error::other(
            "it does not hold the test's end",
        ))
    })?;
    let (end, event) = placed(end, folder);
    show(event);
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
