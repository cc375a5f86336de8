//! Has Nix run tests as builds, wherever its builders are.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::ends::{Ends, RunSummary};
use super::error::RunnerError;
use super::frontend::Frontend;
use super::interrupts::Interrupts;
use super::plan;
use super::reporting::{announce, start, wait_until_shown};
use super::request::{Builders, RunRequest, TestSelection};
use crate::confined::{ModeBits, OpenFolder};
use crate::folders::private_temporary_folder;
use crate::guest;
use crate::model::event::{Event, Record, Verdict};
use crate::nix_cli::{self, BuildError, CheckOptions, NamedDerivation, Nix};
use crate::output_folder::{EVENTS, TAG};
use crate::report::{Output, VERDICT_MARK};

/// Where Nix keeps everything.
const STORE: &str = "/nix/store";

/// The whole log of a build that failed, in the output folder.
const LOG: &str = "build.log";

/// Runs the tests of a request as builds; returns how they have ended.
pub(super) async fn run(
    request: &RunRequest,
    builders: Builders,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<RunSummary, RunnerError> {
    let mut found = Vec::new();
    for selection in &request.selections {
        let Some(checks) = checks_of(selection, builders, interrupts).await? else {
            return Ok(RunSummary::interrupted());
        };
        found.extend(
            checks
                .into_iter()
                .map(|check| (selection, check.label().to_owned(), check)),
        );
    }
    let labels = found.iter_mut();
    let labels = labels.map(|(selection, label, _)| (label, &selection.evaluation.place));
    plan::make_unique(labels.collect());
    let count = found.len();
    let mut ends = Ends::new(frontend, count, request.max_fail);
    for (selection, label, check) in &found {
        let folder = request.output.folder(&check.name, label, count);
        let result = run_one(&selection.nix, check, &folder, frontend, interrupts).await;
        if ends.add(label, result)?.is_break() {
            break;
        }
    }
    Ok(ends.finish())
}

/// The derivations that run the tests of a selection; None if the user interrupts.
async fn checks_of(
    selection: &TestSelection,
    builders: Builders,
    interrupts: &mut Interrupts,
) -> Result<Option<Vec<NamedDerivation>>, RunnerError> {
    let TestSelection { nix, library, .. } = selection;
    let Some(mut evaluation) = plan::narrow(selection, interrupts).await? else {
        return Ok(None);
    };
    let work =
        private_temporary_folder().map_err(RunnerError::host("cannot make a temporary folder"))?;
    let program = own_store_path();
    if program.is_none() && evaluation.guest_index.is_some() {
        // The build needs the program, too.
        let index = work.path().join("guest-index.json");
        guest::pin(nix, &index)?;
        evaluation.guest_index = Some(index);
    }
    let options = CheckOptions {
        program,
        allow_emulation: builders == Builders::Any,
    };
    let checks = tokio::select! {
        checks = nix_cli::checks(nix, library, &evaluation, &options) => checks?,
        _ = interrupts.recv() => return Ok(None),
    };
    Ok(Some(checks))
}

/// The store path that this program was started from, if it is in the store.
fn own_store_path() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let name = program.strip_prefix(STORE).ok()?.iter().next()?;
    Some(Path::new(STORE).join(name))
}

async fn run_one(
    nix: &Nix,
    check: &NamedDerivation,
    folder: &Path,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<Verdict, RunnerError> {
    let output = Output::create(folder, &check.name)?;
    let folder = output.folder().to_owned();
    let root = folder.join("result");
    let reports = start(frontend.display(), Some(output))?;
    let tell = |event| reports.events.emit(event);
    let built = tokio::select! {
        built = nix_cli::realise(nix, &check.derivation, &root, &tell) => Some(built),
        _ = interrupts.recv() => None,
    };
    let (output, showing) = reports
        .end()
        .map_err(RunnerError::host_at("cannot write", &folder))?;
    wait_until_shown(showing, interrupts).await?;
    let result = match built {
        None => Ok(Verdict::Interrupted),
        Some(Err(error @ BuildError::NoNix(_))) => Err(error.into()),
        Some(Ok(())) => passed(frontend, &root, &folder),
        Some(Err(error)) => failed(nix, frontend, check, &folder, error),
    };
    output.map_or(Ok(()), Output::finish)?;
    result
}

/// Brings the output folder of a build here, and shows how its test ended.
fn passed(frontend: &dyn Frontend, root: &Path, folder: &Path) -> Result<Verdict, RunnerError> {
    bring_back(root, folder).map_err(RunnerError::host_at("cannot copy to", folder))?;
    let events = folder.join(EVENTS);
    let end = last_end(&events).map_err(RunnerError::host_at("cannot read", &events))?;
    let end = end.ok_or_else(|| {
        RunnerError::host_at("cannot use", &events)(io::Error::other(
            "it does not hold the test's end",
        ))
    })?;
    show_end(frontend, end, folder)
}

/// Shows how the test of a failed build ended; a build that did not come to
/// its test has failed as a build.
fn failed(
    nix: &Nix,
    frontend: &dyn Frontend,
    check: &NamedDerivation,
    folder: &Path,
    error: BuildError,
) -> Result<Verdict, RunnerError> {
    let log = nix_cli::build_log(nix, &check.derivation)?;
    // A build that Nix refuses has none.
    if !log.is_empty() {
        let path = folder.join(LOG);
        fs::write(&path, &log).map_err(RunnerError::host_at("cannot write", &path))?;
        announce(frontend, Event::FileSaved { path })?;
    }
    match end_in_log(&log) {
        Some(end) => show_end(frontend, end, folder),
        None => Err(error.into()),
    }
}

/// Shows the end of a test as if it had run here; returns its verdict.
fn show_end(
    frontend: &dyn Frontend,
    mut end: Event,
    folder: &Path,
) -> Result<Verdict, RunnerError> {
    let mut found = Verdict::Error;
    if let Event::TestFinished {
        verdict, output, ..
    } = &mut end
    {
        found = *verdict;
        folder.clone_into(output);
    }
    announce(frontend, end)?;
    Ok(found)
}

/// The event of the test's end in a file of events.
fn last_end(events: &Path) -> io::Result<Option<Event>> {
    let mut end = None;
    for line in BufReader::new(fs::File::open(events)?).lines() {
        end = end_of(&line?).or(end);
    }
    Ok(end)
}

/// The event of the test's end in the log of a build.
fn end_in_log(log: &str) -> Option<Event> {
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
