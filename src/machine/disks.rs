//! The disks of a machine, saved by one run and given to another.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::error::at;
use super::{Machine, MachineError};
use crate::folders::create_private;
use crate::model::manifest::BackendKind;

/// How a disk image of QEMU begins.
const MAGIC: [u8; 4] = *b"QFI\xfb";

/// The end of the name of a folder that is not whole yet.
const UNFINISHED: &str = ".new";

impl Machine {
    /// Copies the disks of the machine into `folder`, which is made, and takes the place of an earlier one; returns the
    /// files. A machine that runs is paused meanwhile, and what its guest has only in memory is not saved.
    ///
    /// # Errors
    /// Returns an error for a container, if there is no room, or if QEMU is gone.
    pub async fn save_disks(&self, folder: &Path) -> Result<Vec<PathBuf>, MachineError> {
        if self.life.backend_kind() == BackendKind::Container {
            return Err(self.life.unable("has no disks to save: it is a container"));
        }
        let is_up = self.life.is_up();
        if is_up {
            // QEMU then has written all that the guest has written to its disks.
            self.pause().await?;
        }
        let copied = copy_disks(self.state_folder(), folder).map_err(|source| at(folder, source));
        if is_up {
            self.resume().await?;
        }
        copied
    }

    /// Gives a machine that was never started the disks in a folder.
    ///
    /// # Errors
    /// Returns an error if the folder holds something else, or a file cannot be copied.
    pub fn restore_disks(&self, folder: &Path) -> io::Result<()> {
        check_disks_in(folder)?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            fs::copy(entry.path(), self.state_folder().join(entry.file_name()))?;
        }
        Ok(())
    }
}

/// Checks that a folder holds disk images and nothing else.
///
/// # Errors
/// Returns an error that names another file, or if one cannot be read.
pub fn check_disks_in(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_type()?.is_file() || !is_disk(&entry.path())? {
            let message = format!("{} is no disk image", entry.path().display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
    }
    Ok(())
}

fn copy_disks(from: &Path, to: &Path) -> io::Result<Vec<PathBuf>> {
    let mut unfinished = to.as_os_str().to_owned();
    unfinished.push(UNFINISHED);
    let unfinished = PathBuf::from(unfinished);
    remove(&unfinished)?;
    create_private(&unfinished)?;
    let mut names = Vec::new();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && is_disk(&entry.path())? {
            fs::copy(entry.path(), unfinished.join(entry.file_name()))?;
            names.push(entry.file_name());
        }
    }
    remove(to)?;
    fs::rename(&unfinished, to)?;
    Ok(names.into_iter().map(|name| to.join(name)).collect())
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn is_disk(file: &Path) -> io::Result<bool> {
    let mut begin = Vec::new();
    let length = MAGIC.len() as u64;
    fs::File::open(file)?.take(length).read_to_end(&mut begin)?;
    Ok(begin == MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_copied_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("below")).unwrap();
        fs::write(from.join("root.qcow2"), b"QFI\xfb...").unwrap();
        fs::write(from.join("log.qcow2"), "QFI").unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(to.join("old.qcow2"), b"QFI\xfb...").unwrap();
        assert_eq!(copy_disks(&from, &to).unwrap(), [to.join("root.qcow2")]);
        assert!(!to.join("old.qcow2").exists());
    }
}
