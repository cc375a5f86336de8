//! The hierarchies of control groups of this host, of both versions, and where this process is in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use serde::{Deserialize, Serialize};

use super::identity::is_root_of_build;

/// Where the unified hierarchy is usually mounted.
const MOUNT_POINT: &str = "/sys/fs/cgroup";

/// Something that a control group can limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Controller {
    Memory,
    Processes,
}

pub(super) const CONTROLLERS: [Controller; 2] = [Controller::Memory, Controller::Processes];

impl Controller {
    /// As the kernel names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Processes => "pids",
        }
    }

    /// As people name what it limits.
    pub fn limited(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Processes => "processes",
        }
    }
}

/// The group below ours that is the guest's.
pub(super) const GUESTS_GROUP: &str = "guest";

/// The groups of a machine, by their folders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupPaths {
    /// The group of the machine in the unified hierarchy.
    pub machine: PathBuf,
    /// Groups of version 1 with the controllers that the unified hierarchy lacks.
    pub limiting: Vec<PathBuf>,
    /// The groups that a process leaves when it enters these.
    pub left: Vec<PathBuf>,
}

impl GroupPaths {
    /// The groups that a process of the guest is in.
    pub(super) fn entered(&self) -> impl Iterator<Item = PathBuf> {
        std::iter::once(self.machine.join(GUESTS_GROUP)).chain(self.limiting.clone())
    }

    /// The folder that has the files of a controller, if a limit is set.
    pub(super) fn of(&self, controller: Controller) -> Option<&Path> {
        let file = limit_files(controller);
        std::iter::once(&self.machine)
            .chain(&self.limiting)
            .find(|group| file.iter().any(|name| group.join(name).exists()))
            .map(PathBuf::as_path)
    }
}

/// The names of the files that have the limit of a controller, of version 2 and 1.
pub(super) fn limit_files(controller: Controller) -> &'static [&'static str] {
    match controller {
        Controller::Memory => &["memory.max", "memory.limit_in_bytes"],
        Controller::Processes => &["pids.max"],
    }
}

/// Finds the group of this process in the unified hierarchy.
///
/// # Errors
/// Returns an error if no unified hierarchy is mounted.
pub(super) fn unified_group() -> io::Result<PathBuf> {
    let none = || io::Error::new(io::ErrorKind::NotFound, "no unified hierarchy is mounted");
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let mount = match mount_point(&mounts, None) {
        Some(mount) => mount,
        None if is_root_of_build() => mount_hierarchy()?,
        None => return Err(none()),
    };
    Ok(within(mount, group_path(&groups, None).ok_or_else(none)?))
}

/// The group of this process in the hierarchy of version 1 that has a controller, if there is one.
pub(super) fn group_of(controller: Controller) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mount = mount_point(&mounts, Some(controller))?;
    Some(within(mount, group_path(&groups, Some(controller))?))
}

/// The folder of a group. Its path may be one of the host, of which a container of others shows a part.
fn within(mount: PathBuf, group: &str) -> PathBuf {
    let folder = mount.join(group.trim_start_matches('/'));
    if folder.is_dir() { folder } else { mount }
}

/// Nix gives a build a control group, and leaves it to the build to mount the hierarchy.
fn mount_hierarchy() -> io::Result<PathBuf> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let kind = Some("cgroup2");
    mount(kind, MOUNT_POINT, kind, flags, None::<&str>)?;
    Ok(PathBuf::from(MOUNT_POINT))
}

/// Where a hierarchy is mounted, by the text of `/proc/self/mounts`: the unified one, or that of a controller.
fn mount_point(mounts: &str, controller: Option<Controller>) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_, place, kind, options) = (
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        );
        let fits = match controller {
            None => kind == "cgroup2",
            Some(controller) => {
                kind == "cgroup" && options.split(',').any(|option| option == controller.name())
            }
        };
        fits.then(|| PathBuf::from(place))
    })
}

/// The path of a group, by the text of `/proc/self/cgroup`: lines `NUMBER:CONTROLLER,…:PATH`.
fn group_path(groups: &str, controller: Option<Controller>) -> Option<&str> {
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let fits = match controller {
            None => number == "0",
            Some(controller) => controllers.split(',').any(|name| name == controller.name()),
        };
        fits.then_some(path)
    })
}

/// Whether a group's name, which begins with the process ID of its driver, is of a driver that has ended.
pub(super) fn is_gone(process: u32) -> bool {
    !Path::new("/proc").join(process.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_in_hybrid_hierarchies() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n";
        let place = |controller| mount_point(mounts, controller);
        assert_eq!(place(None).unwrap(), Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(
            place(Some(Controller::Memory)).unwrap(),
            Path::new("/sys/fs/cgroup/memory")
        );
        assert_eq!(place(Some(Controller::Processes)), None);
        let groups = "4:memory:/a:b\n3:cpu,cpuacct:/x\n0::/user.slice\n";
        assert_eq!(group_path(groups, None), Some("/user.slice"));
        assert_eq!(group_path(groups, Some(Controller::Memory)), Some("/a:b"));
        assert_eq!(group_path("3:cpu:/x\n", None), None);
        assert_eq!(group_path(groups, Some(Controller::Processes)), None);
    }
}
