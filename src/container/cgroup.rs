//! The control group of a container: what its systemd organises its services in.

use std::fs;
use std::io;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};

use super::identity::is_root_of_build;
use crate::confined::Owner;

/// Where the hierarchy is usually mounted.
const MOUNT_POINT: &str = "/sys/fs/cgroup";

/// How long processes that are killed may take to go.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the names of our groups begin with; the process ID of the driver follows.
const PREFIX: &str = "snowglobe-";

/// A control group. Its processes are killed, and it is removed, when it is dropped.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes one for a machine, beside this process, and gives it to the guest's root.
    ///
    /// # Errors
    /// When there is no unified hierarchy, or it cannot be written.
    pub fn create(machine: &str, owner: Owner) -> io::Result<Self> {
        let name = format!("{PREFIX}{}-{machine}", std::process::id());
        let folder = own_group()?.join(name);
        fs::create_dir(&folder)?;
        let made = Self(folder);
        for file in [
            "",
            "cgroup.procs",
            "cgroup.threads",
            "cgroup.subtree_control",
        ] {
            chown(made.0.join(file), Some(owner.user), Some(owner.group))?;
        }
        Ok(made)
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether one can be made.
    ///
    /// # Errors
    /// Why not.
    pub fn probe() -> io::Result<()> {
        let probe = own_group()?.join(format!("{PREFIX}{}-probe", std::process::id()));
        fs::create_dir(&probe)?;
        fs::remove_dir(&probe)
    }

    /// Removes the groups of drivers that are gone.
    pub fn sweep() {
        let Ok(entries) = own_group().and_then(fs::read_dir) else {
            return;
        };
        for entry in entries.flatten() {
            if driver_of(&entry.file_name().to_string_lossy()).is_some_and(is_gone) {
                remove(&entry.path());
            }
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Since Linux 5.14; before, the processes end with the first of them.
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        let begin = Instant::now();
        while !remove(&self.0) && begin.elapsed() < PATIENCE {
            sleep(Duration::from_millis(5));
        }
    }
}

/// The driver in the name of a group.
pub(super) fn driver_of(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

fn is_gone(process: u32) -> bool {
    !Path::new("/proc").join(process.to_string()).exists()
}

/// Removes a group and those in it; returns whether it is gone.
fn remove(folder: &Path) -> bool {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    match fs::remove_dir(folder) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// The folder of this process' group in the unified hierarchy.
fn own_group() -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let none = || io::Error::new(io::ErrorKind::NotFound, "no unified hierarchy is mounted");
    let mount = match mount_point(&mounts) {
        Some(mount) => mount,
        None if is_root_of_build() => mount_hierarchy()?,
        None => return Err(none()),
    };
    let group = group_path(&groups).ok_or_else(none)?;
    Ok(mount.join(group.trim_start_matches('/')))
}

/// Nix gives a build a control group, and leaves it to the build to mount the hierarchy.
fn mount_hierarchy() -> io::Result<PathBuf> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let kind = Some("cgroup2");
    mount(kind, MOUNT_POINT, kind, flags, None::<&str>)?;
    Ok(PathBuf::from(MOUNT_POINT))
}

fn mount_point(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(place))
    })
}

fn group_path(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_in_hybrid_hierarchies() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n";
        let place = mount_point(mounts).unwrap();
        assert_eq!(place, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(
            group_path("3:cpu:/x\n0::/user.slice\n"),
            Some("/user.slice")
        );
        assert_eq!(group_path("3:cpu:/x\n"), None);
    }

    #[test]
    fn groups_name_their_driver() {
        assert_eq!(driver_of("snowglobe-123-server"), Some(123));
        assert_eq!(driver_of("snowglobe-x-server"), None);
        assert_eq!(driver_of("system.slice"), None);
    }
}
