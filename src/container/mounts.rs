//! What the processes of a container mount, and who they become.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Pid, Uid, getppid, setgroups, setresgid, setresuid};
use rustix::fs::{CWD, FileType};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::error::{AtStep, ContainerError};

const NONE: Option<&str> = None;

/// Mounts a new file system of a kind, and makes the folder for it.
pub(super) fn fresh(
    kind: &str,
    place: &Path,
    flags: MsFlags,
    options: &str,
) -> Result<(), ContainerError> {
    let what = || format!("mounting {kind} at {}", place.display());
    fs::create_dir_all(place).at_step(what())?;
    mount(Some(kind), place, Some(kind), flags, Some(options)).at_step(what())
}

/// Shows a file or folder at another place, too.
pub(super) fn bind(source: &Path, place: &Path) -> Result<(), ContainerError> {
    let what = || format!("showing {} at {}", source.display(), place.display());
    if source.is_dir() {
        fs::create_dir_all(place).at_step(what())?;
    } else {
        fs::write(place, "").at_step(what())?;
    }
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source), place, NONE, flags, NONE).at_step(what())
}

/// Shows a folder at another place, to be read only.
pub(super) fn bind_read_only(source: &Path, place: &Path) -> Result<(), ContainerError> {
    bind(source, place)?;
    make_read_only(place)
}

/// Lets no one write below a mount, or use devices and programs of other users there.
pub(super) fn make_read_only(place: &Path) -> Result<(), ContainerError> {
    let flags = MsFlags::MS_BIND
        | MsFlags::MS_REMOUNT
        | MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV;
    mount(NONE, place, NONE, flags, NONE).at_step(format!("making {} read-only", place.display()))
}

/// Keeps what is mounted below from other mount namespaces.
pub(super) fn make_private() -> Result<(), ContainerError> {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NONE, "/", NONE, flags, NONE).at_step("separating the mounts")
}

/// A copy of a mount that is nowhere yet: for a folder that this process can reach now, and as the guests' root cannot.
pub(super) fn detached(folder: &Path) -> Result<OwnedFd, ContainerError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, folder, flags).at_step(format!("opening {}", folder.display()))
}

/// A copy of a mount in which the files of the host's root are those of the root of `users`, a user namespace. Only
/// root of the host can make one, and not on all file systems; Linux 5.12 or newer.
pub(super) fn detached_for(folder: &Path, users: &File) -> Result<OwnedFd, ContainerError> {
    let mount = detached(folder)?;
    map_ids(&mount, users).at_step(format!("mapping the IDs of {}", folder.display()))?;
    Ok(mount)
}

#[allow(unsafe_code)]
fn map_ids(mount: &OwnedFd, users: &File) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: users.as_raw_fd().try_into().map_err(io::Error::other)?,
    };
    // SAFETY: the kernel reads `attributes`, which live until it returns and are as long as said, and an empty text.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Mounts it at a place, which is made: a folder, or a file if it is one.
pub(super) fn attach(mount: &OwnedFd, place: &Path) -> Result<(), ContainerError> {
    let what = || format!("mounting a part of the host at {}", place.display());
    let status = rustix::fs::fstat(mount).at_step(what())?;
    if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
        fs::create_dir_all(place).at_step(what())?;
    } else {
        fs::create_dir_all(place.parent().unwrap_or(place)).at_step(what())?;
        fs::write(place, "").at_step(what())?;
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(mount, "", CWD, place, flags).at_step(what())
}

/// Makes the working folder the root, and takes the old one away.
pub(super) fn enter_root() -> Result<(), ContainerError> {
    nix::unistd::pivot_root(".", ".").at_step("changing the root")?;
    umount2(".", MntFlags::MNT_DETACH).at_step("leaving the old root")?;
    nix::unistd::chdir("/").at_step("entering the root")
}

/// Becomes the root of this process' user namespace, in no other group.
pub(super) fn become_root() -> Result<(), ContainerError> {
    let (user, group) = (Uid::from_raw(0), Gid::from_raw(0));
    setgroups(&[]).at_step("leaving the groups")?;
    setresgid(group, group, group).at_step("becoming the guests' root group")?;
    setresuid(user, user, user).at_step("becoming the guests' root")?;
    Ok(())
}

/// Asks the kernel again to kill this process with the one that started it: a change of credentials has made it forget.
pub(super) fn die_with_parent(parent: Pid) -> Result<(), ContainerError> {
    set_pdeathsig(Signal::SIGKILL).at_step("asking to end with the driver")?;
    // Processes of other namespaces are 0.
    let now = getppid();
    if now == parent || now.as_raw() == 0 {
        return Ok(());
    }
    Err(io::Error::other("it has ended")).at_step("waiting for the driver")
}
