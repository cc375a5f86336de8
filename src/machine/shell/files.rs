//! Files between host and guest, through a folder that only this guest has.
//!
//! The guest can change everything in that folder at any moment: the host
//! works on it by open folders alone (see `confined`).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use walkdir::WalkDir;

use super::GuestShell;
use crate::agent::{Expect, GuestProgram, SHARED_FOLDERS};
use crate::backend::EXCHANGE_FOLDER;
use crate::confined::{CopyNotes, ModeBits, OpenFolder, Owner};
use crate::digest::{self, Digest};
use crate::folders::create_private;
use crate::full_disk::expect_room;
use crate::machine::MachineError;
use crate::machine::error::at;
use crate::model::event::{Event, Level};
use crate::output_folder::SavedFile;

/// The folder that all guests share, and the one that each has for itself:
/// tag and mount point, as NixOS' test machines have them.
pub(in crate::machine) const SHARED: HostFolder = HostFolder {
    tag: "shared",
    mount_point: "/tmp/shared",
};
pub(in crate::machine) const EXCHANGE: HostFolder = HostFolder {
    tag: "xchg",
    mount_point: "/tmp/xchg",
};

/// A folder of the host that a guest can mount over 9p.
#[derive(Debug, Clone, Copy)]
pub(in crate::machine) struct HostFolder {
    tag: &'static str,
    pub mount_point: &'static str,
}

impl HostFolder {
    /// Mounts it.
    pub fn mount(self) -> GuestProgram {
        SHARED_FOLDERS.call("mount_shared", [self.tag, self.mount_point])
    }
}

/// A fresh folder for one copy. Removed when it is dropped, unless it is kept.
struct Exchange {
    /// The machine's folder that holds it.
    all: OpenFolder,
    folder: OpenFolder,
    name: OsString,
    /// Owner of files for the guest; `None` for this user.
    owner: Option<Owner>,
    is_kept: bool,
}

static NEXT_EXCHANGE: AtomicU64 = AtomicU64::new(1);

impl Exchange {
    /// Makes one. The guest may have taken names already.
    fn create(machine_folder: &Path, owner: Option<Owner>) -> io::Result<Self> {
        let all = OpenFolder::open(&machine_folder.join(EXCHANGE_FOLDER))?;
        loop {
            let number = NEXT_EXCHANGE.fetch_add(1, Ordering::Relaxed);
            let name = OsString::from(format!("copy-{number}"));
            match all.create_subfolder(&name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => {
                    let made = Self {
                        all,
                        folder: other?,
                        name,
                        owner,
                        is_kept: false,
                    };
                    made.give_away()?;
                    return Ok(made);
                }
            }
        }
    }

    /// Makes all that is in it the guest's.
    fn give_away(&self) -> io::Result<()> {
        match self.owner {
            Some(owner) => self.folder.give_to(owner),
            None => Ok(()),
        }
    }

    fn in_guest(&self, name: &OsStr) -> String {
        format!(
            "{}/{}/{}",
            EXCHANGE.mount_point,
            self.name.to_string_lossy(),
            name.to_string_lossy()
        )
    }

    /// Mounts the machine's folder, unless it is mounted.
    fn found(&self) -> GuestProgram {
        let folder = self.in_guest(OsStr::new(""));
        let arguments = [&folder, EXCHANGE.tag, EXCHANGE.mount_point];
        SHARED_FOLDERS.call("find_shared", arguments)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.is_kept {
            // What is left goes with the machine's folder at the end of the run.
            let _ = self.all.remove(&self.name);
        }
    }
}

impl GuestShell {
    /// Copies a file or folder of the host into the guest.
    ///
    /// # Errors
    /// Returns an error if it cannot be read, and as for [`GuestShell::execute`].
    pub async fn copy_from_host(&self, source: &Path, target: &str) -> Result<(), MachineError> {
        let text = format!("copying {} to {target}", source.display());
        self.life
            .step(text, async {
                let exchange = self.exchange()?;
                let (parent, name) = split(source).map_err(|error| at(source, error))?;
                let staging = OpenFolder::open(&parent).map_err(|error| at(source, error))?;
                let staged = name.clone();
                let (exchange, notes) = blocking(move || {
                    let notes =
                        staging.copy_to(&staged, &exchange.folder, &staged, ModeBits::All)?;
                    exchange.give_away()?;
                    Ok((exchange, notes))
                })
                .await
                .map_err(|error| at(source, error))?;
                // Links and permissions of the user's own files are no surprise.
                self.warn_of(&CopyNotes {
                    skipped: notes.skipped,
                    ..CopyNotes::default()
                });
                let staged = exchange.in_guest(&name);
                let copy = SHARED_FOLDERS.call("copy_in", [&staged, target]);
                self.must(
                    GuestProgram::join([exchange.found(), copy], " && "),
                    &format!("{} could not be copied to {target}", source.display()),
                )
                .await
                .map(drop)
            })
            .await
    }

    /// Copies a file or folder of the guest into the output folder, below `target`.
    ///
    /// # Errors
    /// Returns an error if it is not there, and as for [`GuestShell::execute`].
    pub async fn copy_from_machine(&self, source: &str, target: &str) -> Result<(), MachineError> {
        self.life
            .step(format!("copying {source} to the output folder"), async {
                let path = Path::new(source);
                let name = name_of(path).map_err(|error| at(path, error))?.to_owned();
                let relative = self.life.in_output(&Path::new(target).join(&name))?;
                let exchange = self.exchange()?;
                let staged = exchange.in_guest(&name);
                let copy = SHARED_FOLDERS.call("copy_tree", [source, &*staged]);
                let copied = self
                    .must(
                        GuestProgram::join([exchange.found(), copy], " && "),
                        &format!("{source} could not be copied from {}", self.life.name()),
                    )
                    .await;
                if copied.as_ref().is_err_and(speaks_of_room) {
                    // The guest writes to the host's disk, and its words are no proof.
                    let folder = exchange.folder.path();
                    expect_room(folder).map_err(|error| at(folder, error))?;
                }
                copied?;
                let output = self.life.context.output_folder.clone();
                let saved = output.join(&relative);
                let notes = blocking(move || {
                    let saved = SavedFile::at(&output, &relative)?;
                    let bits = ModeBits::Permissions;
                    exchange
                        .folder
                        .copy_to(&name, &saved.folder, &saved.name, bits)
                })
                .await
                .map_err(|error| at(&saved, error))?;
                self.report_saved(saved, &notes);
                Ok(())
            })
            .await
    }

    fn report_saved(&self, path: PathBuf, notes: &CopyNotes) {
        self.warn_of(notes);
        self.life.context.events.emit(Event::FileSaved { path });
    }

    fn warn_of(&self, notes: &CopyNotes) {
        for sentence in notes.sentences() {
            self.life.context.events.emit(Event::Note {
                machine: Some(self.life.name().to_owned()),
                level: Level::Warning,
                text: sentence,
            });
        }
    }

    fn exchange(&self) -> Result<Exchange, MachineError> {
        let folder = &self.life.context.state_folder;
        let shared = folder.join(EXCHANGE_FOLDER);
        // The machine may not have been started yet.
        let owner = self.life.backend.guest_root();
        create_private(&shared)
            .and_then(|()| Exchange::create(folder, owner))
            .map_err(|error| at(&shared, error))
    }

    /// Puts a script for the guest into the machine's own folder, where it
    /// stays until the run ends; returns what makes it available, and its
    /// path in the guest.
    pub(in crate::machine) fn stage_script(
        &self,
        script: &str,
    ) -> Result<(GuestProgram, String), MachineError> {
        let mut exchange = self.exchange()?;
        let name = OsStr::new("command");
        let written = exchange.folder.write(name, script.as_bytes());
        written
            .and_then(|()| exchange.give_away())
            .map_err(|error| at(exchange.folder.path(), error))?;
        // A command in the background reads it for as long as it runs.
        exchange.is_kept = true;
        Ok((exchange.found(), exchange.in_guest(name)))
    }

    pub(in crate::machine) async fn must(
        &self,
        program: GuestProgram,
        message: &str,
    ) -> Result<String, MachineError> {
        let program = program.map_line(|line| format!("({line}) 2>&1"));
        let outcome = self
            .execute_program(&program, Expect::OutputAndStatus, None)
            .await?;
        let output = String::from_utf8_lossy(&outcome.output);
        if outcome.status == Some(0) {
            return Ok(output.into_owned());
        }
        Err(MachineError::assertion(format!(
            "{message}: {}",
            output.trim()
        )))
    }
}

/// Whether a copy in the guest has failed as on a full disk.
fn speaks_of_room(error: &MachineError) -> bool {
    let text = error.to_string();
    ["No space left on device", "quota exceeded"]
        .iter()
        .any(|reason| text.contains(reason))
}

/// Copies may be large: they leave the threads of the runtime alone.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// The digest of a file or folder with all that is in it.
pub(in crate::machine) fn fingerprint(source: &Path) -> String {
    let mut whole = Digest::default();
    for entry in WalkDir::new(source)
        .follow_root_links(true)
        .sort_by_file_name()
    {
        let Ok(entry) = entry else {
            whole.field("unreadable");
            continue;
        };
        whole.field(entry.path().as_os_str().as_bytes());
        if let Ok(metadata) = entry.metadata() {
            whole.field(metadata.permissions().mode().to_le_bytes());
        }
        if entry.path_is_symlink() {
            let leads_to = std::fs::read_link(entry.path()).unwrap_or_default();
            whole.field(leads_to.as_os_str().as_bytes());
        } else if entry.file_type().is_file() {
            whole.field(digest::of_file(entry.path()).unwrap_or_default());
        }
    }
    whole.hex()
}

/// The folder and the name of a path.
fn split(path: &Path) -> io::Result<(PathBuf, OsString)> {
    let name = name_of(path)?.to_owned();
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    Ok((parent.to_owned(), name))
}

fn name_of(path: &Path) -> io::Result<&OsStr> {
    path.file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a path without a last name"))
}
