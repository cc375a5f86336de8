//! The temporary folder of a run, which goes away whatever ends the run.
//!
//! A second process of this program waits for the first one's end and removes
//! the folder where the first could not.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::child::THIS_PROGRAM;
use crate::folders::{create_private, private_folder_in};

/// Socket paths have at most 107 bytes; this much is needed below the folder.
const MAX_BASE_BYTES: usize = 40;

/// Start of the folders' names.
const PREFIX: &str = "snowglobe-";

/// The hidden subcommand that [`tidy_up_after_parent`] serves.
pub const CLEANER: &str = "tidy-up";

/// The folder. Removed when it is dropped, and when the program is killed.
#[derive(Debug)]
pub struct Scratch {
    folder: tempfile::TempDir,
    cleaner: Child,
    /// The cleaner waits for the end of this pipe.
    lifeline: Option<ChildStdin>,
}

impl Scratch {
    /// Makes a private folder under `XDG_RUNTIME_DIR` or the temporary folder.
    ///
    /// # Errors
    /// Returns an error if no folder can be written, or this program cannot be started again.
    pub fn create() -> io::Result<Self> {
        let folder = private_folder_in(&base(), PREFIX)?;
        let mut cleaner = Command::new(THIS_PROGRAM)
            .arg(CLEANER)
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C must not reach it.
            .process_group(0)
            .spawn()?;
        let lifeline = cleaner.stdin.take();
        let scratch = Self {
            folder,
            cleaner,
            lifeline,
        };
        create_private(&scratch.shared())?;
        Ok(scratch)
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder that all guests mount.
    #[must_use]
    pub fn shared(&self) -> PathBuf {
        self.path().join("shared-xchg")
    }

    /// Makes the folder of a machine.
    ///
    /// # Errors
    /// Returns an error if it cannot be made.
    pub fn machine(&self, name: &str) -> io::Result<PathBuf> {
        let folder = self.path().join(format!("vm-state-{name}"));
        create_private(&folder)?;
        Ok(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.folder.path());
        drop(self.lifeline.take());
        let _ = self.cleaner.wait();
    }
}

/// Where folders of runs are: short, so that sockets in them have a name, and
/// without a comma, which ends a value in the options of QEMU that run scripts
/// of NixOS write. Scripts get it as text.
pub(super) fn base() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    runtime
        .into_iter()
        .chain([std::env::temp_dir()])
        .find(|folder| {
            let is_fit = |name: &str| name.len() <= MAX_BASE_BYTES && !name.contains(',');
            folder.is_dir() && folder.to_str().is_some_and(is_fit)
        })
        .unwrap_or_else(|| PathBuf::from("/tmp"))
}

/// The folders of all runs that this user has here now.
#[must_use]
pub fn folders_of_runs() -> Vec<PathBuf> {
    folders_in(&base())
}

fn folders_in(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| is_of_run(&entry.file_name()));
    ours.map(|entry| entry.path()).collect()
}

/// The folders of all runs that this user has here now; and those in sandboxes of Nix, if this is root.
#[must_use]
pub fn folders_of_all_runs() -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let in_sandboxes = processes.flat_map(|entry| folders_seen_by(&entry.path()));
    let mut folders = folders_of_runs();
    let mut known: HashSet<(u64, u64)> = folders.iter().filter_map(|it| identity(it)).collect();
    folders
        .extend(in_sandboxes.filter(|folder| identity(folder).is_some_and(|it| known.insert(it))));
    folders
}

/// The device and the number of a folder, whatever path leads there.
fn identity(folder: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(folder).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// The folders of runs in the place for them of a process of Snowglobe, which may have a root of its own.
fn folders_seen_by(process: &Path) -> Vec<PathBuf> {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    let root = process.join("root");
    let has_own_root = || identity(&root).is_some_and(|it| Some(it) != identity(Path::new("/")));
    if name.trim_end() != "snowglobe" || !has_own_root() {
        return Vec::new();
    }
    let environment = fs::read(process.join("environ")).unwrap_or_default();
    let variables = environment.split(|byte| *byte == 0);
    let places = variables.filter_map(|variable| {
        let text = std::str::from_utf8(variable).ok()?;
        let (name, value) = text.split_once('=')?;
        ["XDG_RUNTIME_DIR", "TMPDIR"]
            .contains(&name)
            .then_some(value)
    });
    let places = places.map(|place| root.join(place.trim_start_matches('/')));
    places.flat_map(|place| folders_in(&place)).collect()
}

fn is_of_run(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
}

/// The name of a run: what makes the name of its folder another one than those of others.
#[must_use]
pub fn name_of_run(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    name.trim_start_matches(PREFIX).to_owned()
}

/// Waits until the program that started this one is gone, and removes its folder.
///
/// # Errors
/// Returns an error if the folder is not one of a run.
pub fn tidy_up_after_parent(folder: &Path) -> io::Result<()> {
    if !folder.file_name().is_some_and(is_of_run) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not the folder of a run",
        ));
    }
    let mut rest = Vec::new();
    io::stdin().read_to_end(&mut rest)?;
    // The machines die at the same moment and may still write: try again.
    for _ in 0..50 {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            _ => break,
        }
    }
    Ok(())
}
