//! The layout of a run's output folder, and where below it a script may save files.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::confined::OpenFolder;

/// In the folder of a test: what came after the first failure of a test that is repeated.
pub const LATER_ATTEMPT: &str = "later";

/// In the folder of a test: a further attempt, by its number from 2.
#[must_use]
pub fn further_attempt(number: usize) -> String {
    format!("{FURTHER_ATTEMPT}{number}")
}

const FURTHER_ATTEMPT: &str = "attempt-";

/// Whether a name is one of these.
#[must_use]
pub fn is_attempt(name: &str) -> bool {
    let number = name.strip_prefix(FURTHER_ATTEMPT);
    name == LATER_ATTEMPT || number.is_some_and(|it| it.parse::<u32>().is_ok())
}

/// The stream of events.
pub const EVENTS: &str = "events.jsonl";
/// The report for continuous integration.
pub const JUNIT: &str = "junit.xml";
/// The tests of a run and how they have ended.
pub const RESULTS: &str = "run.json";
/// The report for people.
pub const REPORT: &str = "report.html";
/// The link by which Nix keeps what the run was made of.
pub const MANIFEST: &str = "manifest.json";
/// The folder of the machines' consoles.
pub const CONSOLE: &str = "console";
/// The folder of the pictures that reports show.
pub const SCREENS: &str = "screens";
/// Marks the folder as an output folder, and lists what runs have written.
pub const TAG: &str = ".snowglobe-output";

/// Start of the name of a file that is not written whole yet.
const UNFINISHED: &str = ".snowglobe-new-";

/// Files that a run writes by itself.
pub const WRITTEN: [&str; 5] = [EVENTS, JUNIT, RESULTS, REPORT, MANIFEST];

const RESERVED: [&str; 8] = [
    EVENTS, JUNIT, RESULTS, REPORT, MANIFEST, CONSOLE, SCREENS, TAG,
];

/// Whether a run of several tests keeps a name in its folder for itself, so that no test's folder can have it.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || is_attempt(name)
}

/// Where the console of a machine is saved.
#[must_use]
pub fn console_log(output_folder: &Path, machine: &str) -> PathBuf {
    output_folder.join(CONSOLE).join(format!("{machine}.log"))
}

/// A file below the output folder.
#[derive(Debug)]
pub struct SavedFile {
    pub folder: OpenFolder,
    pub name: OsString,
}

impl SavedFile {
    /// The place `relative` of the output folder; folders on the way are made.
    ///
    /// # Errors
    /// Returns an error if a part of it is a symbolic link or cannot be made.
    pub fn at(output_folder: &Path, relative: &Path) -> io::Result<Self> {
        let parent = relative.parent().unwrap_or(Path::new(""));
        Ok(Self {
            folder: open(output_folder)?.descend(parent)?,
            name: relative.file_name().unwrap_or_default().to_owned(),
        })
    }

    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }
}

/// The output folders that this process has opened, by their paths.
static OPENED: Mutex<BTreeMap<PathBuf, OpenFolder>> = Mutex::new(BTreeMap::new());

/// Opens an output folder at the start of its run. All that the run writes there later goes to this folder, whatever
/// its path leads to by then: a script may move the folder, and put a link in its place.
///
/// # Errors
/// Returns an error if there is no such folder.
pub fn claim(folder: &Path) -> io::Result<()> {
    let opened = OpenFolder::open(folder)?;
    lock().insert(folder.to_owned(), opened);
    Ok(())
}

/// Opens a folder of output: the one that was claimed, or one below it, or any other.
///
/// # Errors
/// Returns an error if there is no such folder.
pub fn open(folder: &Path) -> io::Result<OpenFolder> {
    let opened = lock();
    // The nearest one that was claimed.
    let claimed = folder.ancestors().find_map(|above| {
        let claimed = opened.get(above)?;
        Some((claimed, folder.strip_prefix(above).ok()?))
    });
    match claimed {
        Some((claimed, below)) => claimed.descend(below),
        None => OpenFolder::open(folder),
    }
}

/// Whether an output folder is no longer at the path that it had when it was claimed.
#[must_use]
pub fn has_moved(folder: &Path) -> bool {
    lock()
        .get(folder)
        .is_some_and(|claimed| !claimed.is_at_its_path())
}

fn lock() -> MutexGuard<'static, BTreeMap<PathBuf, OpenFolder>> {
    OPENED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a file whole or not at all.
///
/// # Errors
/// Returns an error if it cannot be written.
pub fn write_whole(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    write_whole_in(&open(folder)?, OsStr::new(name), content)
}

/// Writes a file of an opened folder, as [`write_whole`] does.
///
/// # Errors
/// Returns an error if the file cannot be written.
pub fn write_whole_in(folder: &OpenFolder, name: &OsStr, content: &[u8]) -> io::Result<()> {
    folder.write_whole(name, content, UNFINISHED)
}

/// Whether a run that was killed has left a file of this name half-written:
/// this program, or Nix as it makes the link [`MANIFEST`].
#[must_use]
pub fn is_unfinished(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let is_of_nix = name
        .strip_prefix('.')
        .and_then(|name| name.split_once('_'))
        .is_some_and(|(number, link)| number.parse::<u64>().is_ok() && link == MANIFEST);
    is_of_nix || name.starts_with(UNFINISHED)
}

/// The path relative to the output folder that a script means by `name`: a
/// relative one, or an absolute one below the output folder.
///
/// # Errors
/// Returns an error if it leads out of the output folder, or is a file of the run itself: the reason.
pub fn relative(output_folder: &Path, name: &Path) -> Result<PathBuf, &'static str> {
    let inner = if name.is_absolute() {
        name.strip_prefix(output_folder).ok()
    } else {
        Some(name)
    };
    let is_below = |path: &Path| {
        let mut parts = path.components();
        parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
    };
    let inner = inner
        .filter(|inner| is_below(inner))
        .ok_or("that is not below the output folder")?;
    let inner: PathBuf = inner
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect();
    let first = inner.components().next();
    if RESERVED
        .iter()
        .any(|own| first == Some(Component::Normal(own.as_ref())))
    {
        return Err("the run itself writes there");
    }
    Ok(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_killed_runs_are_known() {
        for (name, unfinished) in [
            (".snowglobe-new-Xy12ab", true),
            (".0_manifest.json", true),
            (".snowglobe-output", false),
            (".x_manifest.json", false),
        ] {
            assert_eq!(is_unfinished(OsStr::new(name)), unfinished, "{name}");
        }
    }

    #[test]
    fn scripts_save_below_the_output_folder_only() {
        let of = |name| relative(Path::new("/out"), Path::new(name));
        assert_eq!(of("a/./b"), Ok(PathBuf::from("a/b")));
        assert_eq!(of("/out/a"), Ok(PathBuf::from("a")));
        assert_eq!(of("./"), Ok(PathBuf::new()));
        for name in ["/outer", "/etc/passwd", "../a", "a/../../b", "/out/../b"] {
            assert_eq!(
                of(name),
                Err("that is not below the output folder"),
                "{name}"
            );
        }
        for name in ["junit.xml", "./console/x.log", "/out/events.jsonl"] {
            assert_eq!(of(name), Err("the run itself writes there"), "{name}");
        }
    }
}
