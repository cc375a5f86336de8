//! `snowglobe run --as-derivation`: has Nix run tests as builds, wherever its builders are.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::error::{Failed, code};
use super::run_options::{RunOptions, exit_code, wait_until_shown};
use super::source::Prepared;
use crate::confined::{ModeBits, OpenFolder};
use crate::event::{Event, Record};
use crate::folders::private_temporary_folder;
use crate::guest;
use crate::nix_cli::{self, BuildError, Check, CheckOptions, Nix};
use crate::output_folder::{EVENTS, TAG};
use crate::report::{Output, VERDICT_MARK};
use crate::script::RunMode;
use crate::session::Interrupt;

/// Where Nix keeps everything.
const STORE: &str = "/nix/store";

/// The whole log of a build that failed, in the output folder.
const LOG: &str = "build.log";

/// Runs the tests of a file as builds; returns the exit code. `folder` tells
/// where each one's output goes.
pub async fn run(
    prepared: Prepared,
    run_options: &RunOptions,
    allow_emulation: bool,
    folder: impl Fn(&Check, usize) -> PathBuf,
    interrupts: &mut mpsc::UnboundedReceiver<Interrupt>,
) -> Result<u8, Failed> {
    let Prepared {
        nix,
        library,
        mut evaluation,
    } = prepared;
    let work =
        private_temporary_folder().map_err(Failed::host("cannot make a temporary folder"))?;
    let program = own_store_path();
    if program.is_none() && evaluation.guest_index.is_some() {
        // The build needs the program, too.
        let index = work.path().join("guest-index.json");
        guest::pin(&nix, &index)?;
        evaluation.guest_index = Some(index);
    }
    let options = CheckOptions {
        program,
        allow_emulation,
    };
    let checks = tokio::select! {
        checks = nix_cli::checks(&nix, &library, &evaluation, &options) => checks?,
        _ = interrupts.recv() => return Ok(code::INTERRUPTED),
    };
    let mut worst = code::PASSED;
    for check in &checks {
        let folder = folder(check, checks.len());
        let code = run_one(&nix, run_options, check, &folder, interrupts).await?;
        worst = worst.max(code);
        if code == code::INTERRUPTED {
            break;
        }
    }
    Ok(worst)
}

/// The store path that this program was started from, if it is in the store.
fn own_store_path() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let name = program.strip_prefix(STORE).ok()?.iter().next()?;
    Some(Path::new(STORE).join(name))
}

async fn run_one(
    nix: &Nix,
    run_options: &RunOptions,
    check: &Check,
    folder: &Path,
    interrupts: &mut mpsc::UnboundedReceiver<Interrupt>,
) -> Result<u8, Failed> {
    let output = Output::create(folder, &check.name)?;
    let folder = output.folder().to_owned();
    let root = folder.join("result");
    let reports = run_options.report(Some(output), &RunMode::Script)?;
    let tell = |event| reports.events.emit(event);
    let built = tokio::select! {
        built = nix_cli::realise(nix, &check.derivation, &root, &tell) => Some(built),
        _ = interrupts.recv() => None,
    };
    let (output, showing) = reports
        .end()
        .map_err(Failed::host_at("cannot write", &folder))?;
    wait_until_shown(showing, interrupts).await?;
    let result = match built {
        None => Ok(code::INTERRUPTED),
        Some(Err(error @ BuildError::NoNix(_))) => Err(error.into()),
        Some(Ok(())) => passed(run_options, &root, &folder),
        Some(Err(error)) => failed(nix, run_options, check, &folder, error),
    };
    let code = result?;
    output.map_or(Ok(()), Output::finish)?;
    Ok(code)
}

/// Brings the output folder of a build here, and shows how its test ended.
fn passed(run_options: &RunOptions, root: &Path, folder: &Path) -> Result<u8, Failed> {
    bring_back(root, folder).map_err(Failed::host_at("cannot copy to", folder))?;
    let events = folder.join(EVENTS);
    let end = last_end(&events).map_err(Failed::host_at("cannot read", &events))?;
    let end = end.ok_or_else(|| {
        Failed::host_at("cannot use", &events)(io::Error::other("it does not hold the test's end"))
    })?;
    show_end(run_options, end, folder)
}

/// Shows how the test of a failed build ended; a build that did not come to
/// its test has failed as a build.
fn failed(
    nix: &Nix,
    run_options: &RunOptions,
    check: &Check,
    folder: &Path,
    error: BuildError,
) -> Result<u8, Failed> {
    let log = nix_cli::build_log(nix, &check.derivation)?;
    let path = folder.join(LOG);
    fs::write(&path, &log).map_err(Failed::host_at("cannot write", &path))?;
    run_options.announce(Event::FileSaved { path })?;
    match end_in_log(&log) {
        Some(end) => show_end(run_options, end, folder),
        None => Err(error.into()),
    }
}

/// Shows the end of a test as if it had run here; returns the exit code.
fn show_end(run_options: &RunOptions, mut end: Event, folder: &Path) -> Result<u8, Failed> {
    let mut code = code::HOST_FAILED;
    if let Event::TestFinished {
        verdict, output, ..
    } = &mut end
    {
        code = exit_code(*verdict);
        folder.clone_into(output);
    }
    run_options.announce(end)?;
    Ok(code)
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
    use crate::event::Verdict;

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
