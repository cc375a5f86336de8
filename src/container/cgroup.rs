//! The control groups of a container: what its systemd organises its services in, and what limits them.
//!
//! The guest's root owns one group in the unified hierarchy, and is in the namespace below it. Its limits are those of the
//! group above, which the guest cannot see, or of groups of version 1, where the host has the controllers there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::hierarchy::{
    CONTROLLERS, Controller, GUESTS_GROUP, GroupPaths, group_of, is_gone, limit_files,
    unified_group,
};
use super::limits::Limits;
use crate::confined::Owner;

/// How long processes that are killed may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// The begin of the names of our groups. The process IDs of the run and of the test follow.
const PREFIX: &str = "snowglobe-";

/// The control groups of a machine. Their processes are killed, and they are removed, when it is dropped.
#[derive(Debug)]
pub struct Cgroup(GroupPaths);

impl Cgroup {
    /// Makes groups for a machine, gives one to the guest's root, and limits it as far as this user may.
    ///
    /// # Errors
    /// Returns an error if there is no unified hierarchy, or it cannot be written.
    pub(super) fn create(
        run: u32,
        machine: &str,
        owner: Owner,
        limits: Limits,
    ) -> io::Result<Self> {
        let name = format!("{PREFIX}{run}-{}-{machine}", std::process::id());
        let own = unified_group()?;
        let made = Self(GroupPaths {
            machine: create_in_unified(&own, &name)?,
            limiting: Vec::new(),
            left: vec![own],
        });
        let made = made.with_limits(&name, limits);
        let guests = made.0.machine.join(GUESTS_GROUP);
        fs::create_dir(&guests)?;
        for file in [
            "",
            "cgroup.procs",
            "cgroup.threads",
            "cgroup.subtree_control",
        ] {
            chown(guests.join(file), Some(owner.user), Some(owner.group))?;
        }
        Ok(made)
    }

    fn with_limits(mut self, name: &str, limits: Limits) -> Self {
        for controller in CONTROLLERS {
            if self.0.of(controller).is_none()
                && let Some(own) = group_of(controller)
            {
                let group = own.join(name);
                if fs::create_dir(&group).is_ok() {
                    self.0.limiting.push(group);
                    self.0.left.push(own);
                }
            }
            if let Some(group) = self.0.of(controller) {
                limits.set(controller, group);
            }
        }
        self
    }

    #[must_use]
    pub fn paths(&self) -> &GroupPaths {
        &self.0
    }

    /// Lists what groups of this user would not limit.
    ///
    /// # Errors
    /// Returns the reason if no groups can be made.
    pub fn unlimited() -> io::Result<Vec<&'static str>> {
        let owner = super::identity::guest_root();
        let probe = Self::create(std::process::id(), "probe", owner, Limits::of(1024))?;
        let unlimited = CONTROLLERS
            .into_iter()
            .filter(|controller| probe.0.of(*controller).is_none());
        Ok(unlimited.map(Controller::limited).collect())
    }

    /// Removes the groups of drivers that have ended.
    pub fn sweep() {
        let unified = unified_group().into_iter();
        let unified: Vec<_> = unified.flat_map(|own| candidates(&own)).collect();
        let limiting = CONTROLLERS.into_iter().filter_map(group_of);
        for folder in unified.into_iter().chain(limiting) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if driver_of(&entry.file_name().to_string_lossy()).is_some_and(is_gone) {
                    remove(&entry.path());
                }
            }
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Since Linux 5.14; before, the processes end with the first of them.
        let _ = fs::write(self.0.machine.join("cgroup.kill"), "1");
        let begin = Instant::now();
        for group in std::iter::once(&self.0.machine).chain(&self.0.limiting) {
            while !remove(group) && begin.elapsed() < PATIENCE {
                sleep(Duration::from_millis(5));
            }
        }
    }
}

/// A process in the groups of a machine, and its way back.
#[derive(Debug)]
pub(super) struct Membership {
    /// The lists of processes of the groups that it was in.
    back: Vec<File>,
}

impl Membership {
    /// Enters the groups. Must be called before the process enters a user namespace.
    ///
    /// # Errors
    /// Returns the kernel's reason.
    pub fn enter(paths: &GroupPaths) -> io::Result<Self> {
        let list = |group: PathBuf| {
            let mut options = fs::OpenOptions::new();
            options.write(true).open(group.join("cgroup.procs"))
        };
        // One that cannot be opened keeps this process in the machine's group, which is no error.
        let left = paths.left.iter().cloned();
        let back = left.filter_map(|group| list(group).ok()).collect();
        for group in paths.entered() {
            list(group)?.write_all(b"0")?;
        }
        Ok(Self { back })
    }

    /// Leaves the groups: what this process does then is not the guest's, and systemd finds its group empty.
    pub fn leave(&self) {
        for mut list in &self.back {
            // Before Linux 5.16 the kernel refuses it: this process has other rights by now.
            let _ = list.write_all(b"0");
        }
    }
}

/// Makes a group in the unified hierarchy: in the nearest one to `own` whose groups have the controllers that the
/// hierarchy has.
fn create_in_unified(own: &Path, name: &str) -> io::Result<PathBuf> {
    let has = |group: &Path| {
        let file = |controller: &Controller| group.join(limit_files(*controller)[0]).exists();
        CONTROLLERS.iter().all(file)
    };
    for parent in candidates(own) {
        let group = parent.join(name);
        if fs::create_dir(&group).is_err() {
            continue;
        }
        if !has(&group) {
            // Refused if processes are in the group itself.
            for controller in CONTROLLERS {
                let enabled = format!("+{}", controller.name());
                let _ = fs::write(parent.join("cgroup.subtree_control"), enabled);
            }
        }
        if has(&group) {
            return Ok(group);
        }
        fs::remove_dir(&group)?;
    }
    let group = own.join(name);
    fs::create_dir(&group)?;
    Ok(group)
}

/// The group of this process and those above it, in which this user may make others.
fn candidates(own: &Path) -> Vec<PathBuf> {
    own.ancestors()
        .take_while(|group| group.join("cgroup.procs").exists())
        .map(Path::to_owned)
        .collect()
}

/// The driver in the name of a group.
pub(super) fn driver_of(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_name_their_driver() {
        assert_eq!(driver_of("snowglobe-123-server"), Some(123));
        assert_eq!(driver_of("snowglobe-x-server"), None);
        assert_eq!(driver_of("system.slice"), None);
    }
}
