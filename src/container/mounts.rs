//! Mounts of a container's processes, and their users.

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

/// Keeps what is mounted below from other mount namespaces.
pub(super) fn make_private() -> Result<(), ContainerError> {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NONE, "/", NONE, flags, NONE).at_step("separating the mounts")
}

/// Copies a mount, with those below it, for a place that is not known yet: while this process can reach the source, which
/// the guests' root cannot.
///
/// # Errors
/// Returns the kernel's reason if there is no such file or folder.
pub(super) fn detached(source: &Path) -> Result<OwnedFd, ContainerError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, source, flags).at_step(format!("opening {}", source.display()))
}

/// Copies a mount as [`detached`] does. The files of the host's root are those of the root of `users`, a user namespace.
/// Only root of the host can make one, and not on all file systems; Linux 5.12 or newer.
pub(super) fn detached_for(source: &Path, users: &File) -> Result<OwnedFd, ContainerError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let what = format!("mapping the IDs of {}", source.display());
    let mount = open_tree(CWD, source, flags).at_step(&what)?;
    let users = users.as_raw_fd().try_into().map_err(io::Error::other);
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: users.at_step(&what)?,
    };
    set_attributes(&mount, attributes).at_step(&what)?;
    Ok(mount)
}

/// Whether something is mounted below a folder, as this process sees it.
///
/// # Errors
/// Returns an error if the kernel does not tell.
pub(super) fn has_mounts_below(folder: &Path) -> io::Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(is_mounted_below(&mounts, folder))
}

/// As [`has_mounts_below`], of the lines of mountinfo (proc(5)): the fifth word is the place.
fn is_mounted_below(mounts: &str, folder: &Path) -> bool {
    let mut places = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    places.any(|place| place != folder.as_os_str() && Path::new(place).starts_with(folder))
}

/// Lets no process write below a detached mount, or use devices and set-uid programs there.
///
/// # Errors
/// Returns the kernel's reason, if it is older than Linux 5.12.
pub(super) fn make_read_only(mount: &OwnedFd) -> Result<(), ContainerError> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    set_attributes(mount, attributes).at_step("making a part of the host read-only")
}

/// Changes the attributes of a mount and of those below it.
#[allow(unsafe_code)]
fn set_attributes(mount: &OwnedFd, attributes: libc::mount_attr) -> io::Result<()> {
    // SAFETY: the kernel reads `attributes`, which live until it returns and are as long as said, and an empty text.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
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

/// Makes a folder the root of this process and of those with the same root. The old root is still mounted, above the
/// new one, and no path leads there.
///
/// # Errors
/// Returns the kernel's reason if the folder is no mount.
pub(super) fn change_root(root: &Path) -> Result<(), ContainerError> {
    std::env::set_current_dir(root).at_step("entering the root")?;
    nix::unistd::pivot_root(".", ".").at_step("changing the root")
}

/// Unmounts the root that was there before [`change_root`].
///
/// # Errors
/// Returns the kernel's reason.
pub(super) fn leave_old_root() -> Result<(), ContainerError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_below_a_folder_are_found() {
        let store = Path::new("/nix/store");
        let on_host = "22 1 254:0 / / rw - ext4 /dev/vda rw\n30 22 254:0 /nix/store /nix/store ro - ext4 /dev/vda rw\n\
                       31 22 0:5 / /nix/store-images rw - tmpfs none rw\n";
        assert!(!is_mounted_below(on_host, store));
        let in_build = "40 22 254:0 /nix/store/a-x /nix/store/a-x ro - ext4 /dev/vda rw\n";
        assert!(is_mounted_below(in_build, store));
    }
}
