//! Folders of machines that outlive the run, for the next one.
//!
//! The folders are where nixpkgs' driver has them and where its users look: `vm-state-NAME` below `XDG_RUNTIME_DIR` or
//! the temporary folder.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;

use super::SessionError;

/// The folders that a run has for itself, until this is dropped.
#[derive(Debug, Default)]
pub struct PersistentState {
    locks: Vec<Flock<File>>,
}

impl PersistentState {
    /// The folder of a machine: a new one, or as an earlier run has left it.
    ///
    /// # Errors
    /// Returns an error if another run has it, or it is open to other users.
    pub fn machine(&mut self, base: &Path, name: &str) -> Result<PathBuf, SessionError> {
        let folder = base.join(format!("vm-state-{name}"));
        match claim(&folder) {
            Ok(lock) => {
                self.locks.push(lock);
                Ok(folder)
            }
            Err(source) => Err(SessionError::PersistentState { folder, source }),
        }
    }
}

fn claim(folder: &Path) -> io::Result<Flock<File>> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = fs::symlink_metadata(folder)?;
    if !metadata.is_dir() {
        return Err(io::Error::other("it is no folder"));
    }
    if metadata.uid() != geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
        return Err(io::Error::other("it is open to other users"));
    }
    let held = |(_, error): (File, Errno)| match error {
        Errno::EWOULDBLOCK => io::Error::other("another run has it"),
        other => other.into(),
    };
    Flock::lock(File::open(folder)?, FlockArg::LockExclusiveNonblock).map_err(held)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn reason(persistent: &mut PersistentState, base: &Path, name: &str) -> String {
        let error = persistent.machine(base, name).unwrap_err().to_string();
        error.replace(&base.display().to_string(), "BASE")
    }

    #[test]
    fn a_folder_is_one_runs_at_a_time_and_outlives_it() {
        let base = tempfile::tempdir().unwrap();
        let mut first = PersistentState::default();
        let folder = first.machine(base.path(), "web").unwrap();
        fs::write(folder.join("disk"), "full").unwrap();
        assert_eq!(
            reason(&mut PersistentState::default(), base.path(), "web"),
            "the persistent state of a machine, BASE/vm-state-web, cannot be used: another run has it"
        );
        drop(first);
        let folder = PersistentState::default()
            .machine(base.path(), "web")
            .unwrap();
        assert_eq!(fs::read_to_string(folder.join("disk")).unwrap(), "full");
    }

    #[test]
    fn what_others_could_have_put_there_is_not_used() {
        let base = tempfile::tempdir().unwrap();
        let mut persistent = PersistentState::default();
        let open = base.path().join("vm-state-open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(
            reason(&mut persistent, base.path(), "open").ends_with("it is open to other users")
        );
        symlink(&open, base.path().join("vm-state-link")).unwrap();
        assert!(reason(&mut persistent, base.path(), "link").ends_with("it is no folder"));
    }
}
