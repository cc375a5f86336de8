//! The process that keeps what all containers of a run share: their user namespace, and one copy of each tree.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::getppid;
use serde::{Deserialize, Serialize};

use super::boot_process::machine_folder;
use super::error::{AtStep, ContainerError};
use super::mounts::{become_root, die_with_parent, fresh, make_private};
use super::root::in_memory;
use crate::confined::{ModeBits, OpenFolder};

/// A request of the driver, one line each.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// The namespace has its IDs.
    Mapped,
    /// A copy of a tree, under a name; None is a root of empty folders.
    Copy { tree: Option<PathBuf>, name: String },
    /// The folder of a machine whose files live as long as the run, with its size.
    Folder { machine: String, size_mib: u64 },
}

/// A reply of the keeper, one line each.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The namespace is there, and wants its IDs.
    Unmapped,
    Done,
    Failed(String),
}

/// Keeps a user namespace, and in `folder` what the driver asks for, as long as the driver's socket, which is the
/// standard input, is open.
///
/// # Errors
/// Returns an error if the namespace cannot be made.
pub fn keep_namespace(folder: &Path) -> Result<(), ContainerError> {
    let socket = rustix::io::dup(std::io::stdin()).at_step("opening the driver's socket")?;
    let mut driver = UnixStream::from(socket);
    let requests = driver.try_clone().at_step("opening the driver's socket")?;

    let parent = getppid();
    let unshared = unshare(CloneFlags::CLONE_NEWUSER).at_step("making a user namespace");
    if let Err(error) = unshared.and_then(|()| die_with_parent(parent)) {
        return reply(&mut driver, &Reply::Failed(error.to_string()));
    }
    reply(&mut driver, &Reply::Unmapped)?;
    for line in BufReader::new(requests).lines() {
        let line = line.at_step("reading from the driver")?;
        let request: Request = serde_json::from_str(&line).at_step("reading from the driver")?;
        let done = match request {
            Request::Mapped => prepare(folder).and_then(|()| die_with_parent(parent)),
            Request::Copy {
                tree: Some(tree),
                name,
            } => copy(&tree, &name),
            Request::Copy { tree: None, name } => make_empty_root(&name),
            Request::Folder { machine, size_mib } => {
                let options = in_memory(size_mib, "755");
                fresh(
                    "tmpfs",
                    &machine_folder(&machine),
                    MsFlags::empty(),
                    &options,
                )
            }
        };
        let line = match done {
            Ok(()) => Reply::Done,
            Err(error) => Reply::Failed(error.to_string()),
        };
        reply(&mut driver, &line)?;
    }
    Ok(())
}

fn reply(driver: &mut UnixStream, reply: &Reply) -> Result<(), ContainerError> {
    let line = serde_json::to_string(reply).at_step("replying to the driver")?;
    writeln!(driver, "{line}").at_step("replying to the driver")
}

/// Makes the folder for the trees, and this process the guests' root, whom only the working folder leads there.
fn prepare(folder: &Path) -> Result<(), ContainerError> {
    unshare(CloneFlags::CLONE_NEWNS).at_step("making a mount namespace")?;
    make_private()?;
    fresh("tmpfs", folder, MsFlags::empty(), "mode=755,uid=0,gid=0")?;
    std::env::set_current_dir(folder).at_step("entering the folder of trees")?;
    become_root()
}

/// Copies a tree of the store, so that its files are the guests' root's, who can change them.
fn copy(tree: &Path, name: &str) -> Result<(), ContainerError> {
    let copied = copy_here(tree, OsStr::new(name));
    copied.at_step(format!("copying {}", tree.display()))
}

fn copy_here(tree: &Path, name: &OsStr) -> io::Result<()> {
    let (Some(folder), Some(own_name)) = (tree.parent(), tree.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let here = OpenFolder::open(Path::new("."))?;
    OpenFolder::open(folder)?.copy_to(own_name, &here, name, ModeBits::Writable)?;
    Ok(())
}

/// Makes the folders that a system needs which fills its root itself.
fn make_empty_root(name: &str) -> Result<(), ContainerError> {
    let folders = [
        "dev",
        "etc",
        "nix/store",
        "proc",
        "root",
        "run",
        "sys",
        "tmp",
        "var",
    ];
    for folder in folders {
        let made = fs::create_dir_all(Path::new(name).join(folder));
        made.at_step(format!("making /{folder}"))?;
    }
    Ok(())
}
