//! Which containers run now, of any driver of this user.

use std::fs;
use std::path::{Path, PathBuf};

use super::BOOT;
use super::cgroup::driver_of;
use super::machine::BOOT_FILE;
use super::machine_backend::PLAN_FILE;
use super::plan::Plan;

/// A container that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningContainer {
    /// The name of the machine.
    pub name: String,
    /// The process that runs its test.
    pub driver: u32,
    /// The process of its present boot.
    pub boot: u32,
}

/// Finds the containers in the folders of runs.
#[must_use]
pub fn running_containers(runs: &[PathBuf]) -> Vec<RunningContainer> {
    let machines = runs.iter().flat_map(|run| entries(run));
    machines.filter_map(|folder| running_in(&folder)).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// The container of a machine's folder.
fn running_in(folder: &Path) -> Option<RunningContainer> {
    let boot = fs::read_to_string(folder.join(BOOT_FILE)).ok()?;
    let boot = boot.trim().parse().ok().filter(|boot| is_boot(*boot))?;
    let plan: Plan = serde_json::from_slice(&fs::read(folder.join(PLAN_FILE)).ok()?).ok()?;
    let driver = driver_of(&plan.groups.machine.file_name()?.to_string_lossy())?;
    Some(RunningContainer {
        name: plan.name,
        driver,
        boot,
    })
}

/// Whether a process is what it was when the file was written.
fn is_boot(process: u32) -> bool {
    let arguments = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    arguments.split(|byte| *byte == 0).nth(1) == Some(BOOT.as_bytes())
}
