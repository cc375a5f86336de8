//! `snowglobe run --as-derivation`: has Nix run tests as builds, wherever its builders are.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::conduct::Conduct;
use super::error::{Failed, code};
use super::source::Prepared;
use crate::guest;
use crate::nix::{self, BuildError, Check, CheckOptions, Nix};
use crate::report::Output;
use crate::script::Manner;

/// Where Nix keeps everything.
const STORE: &str = "/nix/store";

/// The whole log of a build that failed, in the output folder.
const LOG: &str = "build.log";

/// Runs the tests of a file as builds; gives the exit code. `folder` tells
/// where each one's output goes.
pub async fn run(
    prepared: Prepared,
    conduct: &Conduct,
    allow_emulation: bool,
    folder: impl Fn(&Check, usize) -> PathBuf,
) -> Result<u8, Failed> {
    let Prepared {
        nix,
        library,
        mut evaluation,
    } = prepared;
    let work = tempfile::tempdir()?;
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
    let checks = nix::checks(&nix, &library, &evaluation, &options).await?;
    let mut worst = code::PASSED;
    for check in &checks {
        let folder = folder(check, checks.len());
        worst = worst.max(run_one(&nix, conduct, check, &folder).await?);
    }
    Ok(worst)
}

/// The store path that this program was started from, if it is in the store.
fn own_store_path() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let name = program.strip_prefix(STORE).ok()?.iter().next()?;
    Some(Path::new(STORE).join(name))
}

async fn run_one(nix: &Nix, conduct: &Conduct, check: &Check, folder: &Path) -> Result<u8, Failed> {
    let output = Output::create(folder, &check.name)?;
    let folder = output.folder().to_owned();
    let root = folder.join("result");
    let telling = conduct.tell(output, &Manner::Script)?;
    let tell = |event| telling.events.tell(event);
    let built = nix::realise(nix, &check.derivation, &root, &tell).await;
    telling.end();
    match built {
        Ok(()) => {
            bring_back(&root, &folder)?;
            println!("output in {}\npassed: {}", folder.display(), check.name);
            Ok(code::PASSED)
        }
        Err(error @ BuildError::NoNix(_)) => Err(error.into()),
        Err(error) => {
            let log = nix::build_log(nix, &check.derivation)?;
            fs::write(folder.join(LOG), &log)?;
            match verdict(&log, &check.name) {
                Some(code) => {
                    println!("{}", log.trim_end());
                    println!("the whole log is in {}", folder.join(LOG).display());
                    Ok(code)
                }
                None => Err(error.into()),
            }
        }
    }
}

/// What a run has said last: a build that failed before it began has not.
fn verdict(log: &str, name: &str) -> Option<u8> {
    log.lines().rev().find_map(|line| {
        let (verdict, rest) = line.split_once(": ")?;
        if !rest.starts_with(&format!("{name} (")) {
            return None;
        }
        match verdict {
            "failed" => Some(code::TEST_FAILED),
            "broken" => Some(code::MACHINERY_FAILED),
            _ => None,
        }
    })
}

/// Copies what the build has left into the output folder, so that it holds
/// what that of a run here would.
fn bring_back(from: &Path, to: &Path) -> std::io::Result<()> {
    let from = fs::canonicalize(from)?;
    for entry in walkdir::WalkDir::new(&from).min_depth(1) {
        let entry = entry.map_err(std::io::Error::from)?;
        let target = to.join(entry.path().strip_prefix(&from).unwrap_or(entry.path()));
        if entry.file_type().is_dir() {
            fs::create_dir_all(&target)?;
        } else if entry.path_is_symlink() {
            symlink(fs::read_link(entry.path())?, &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            // Files of the store cannot be written, and this folder's can.
            let mode = entry.metadata()?.permissions().mode();
            fs::set_permissions(&target, Permissions::from_mode(mode | 0o200))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
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
        bring_back(from.path(), to.path()).unwrap();
        let link = |name: &str| fs::read_link(to.path().join(name)).unwrap();
        assert_eq!(link("broken"), Path::new("nowhere"));
        assert_eq!(link("folder/self"), Path::new("."));
        let program = fs::metadata(to.path().join("folder/program")).unwrap();
        assert_eq!(program.permissions().mode() & 0o777, 0o755);
    }

    #[test]
    fn the_last_line_of_a_run_is_its_verdict() {
        let log = "running x with m\nerror: y\n\nfailed: x (3.0 s)\n";
        assert_eq!(verdict(log, "x"), Some(code::TEST_FAILED));
        assert_eq!(
            verdict("broken: x (3.0 s)\n", "x"),
            Some(code::MACHINERY_FAILED)
        );
        assert_eq!(verdict("make: *** failed: x\n", "x"), None);
        assert_eq!(verdict("", "x"), None);
    }
}
