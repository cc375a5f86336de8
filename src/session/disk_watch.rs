//! Watches how much guests write to the host: into the folders that they mount, and their consoles.
//!
//! Disk files have the sizes that their nodes ask for, and QEMU says if one cannot grow.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use walkdir::WalkDir;

use crate::backend::{EXCHANGE_FOLDER, FaultReporter, MachineFault};
use crate::full_disk::{free_bytes, reserve_of};
use crate::machine::Machine;
use crate::output_folder::console_log;

/// Between two looks at the free space.
const INTERVAL: Duration = Duration::from_millis(200);

/// The places that the guests of a test write to, with the space that was free before.
#[derive(Debug)]
pub(super) struct DiskWatch {
    shared: PathBuf,
    output: PathBuf,
    reporter: FaultReporter,
    disks: Vec<Disk>,
}

/// A file system of the host.
#[derive(Debug)]
struct Disk {
    folder: File,
    /// Free bytes before the test.
    before: u64,
}

impl DiskWatch {
    /// Looks at the disks of the folder that all guests share, beside which those of the machines are, and of the output
    /// folder.
    pub fn new(shared: PathBuf, output: PathBuf, reporter: FaultReporter) -> Self {
        let disks = [&shared, &output].into_iter().filter_map(|folder| {
            let folder = File::open(folder).ok()?;
            let before = free_bytes(&folder)?;
            Some(Disk { folder, before })
        });
        Self {
            disks: disks.collect(),
            shared,
            output,
            reporter,
        }
    }

    /// Looks again and again, until the result is dropped. A disk that guests have filled is a fault.
    pub fn start(&self, machines: BTreeMap<String, Arc<Machine>>) -> RunningDiskWatch {
        let disks = self.disks.iter().filter_map(|disk| {
            Some(Disk {
                folder: disk.folder.try_clone().ok()?,
                before: disk.before,
            })
        });
        let look = Look {
            disks: disks.collect(),
            machines: machines.into_values().collect(),
            shared: self.shared.clone(),
            output: self.output.clone(),
            reporter: self.reporter.clone(),
        };
        let look = Arc::new(look);
        let repeated = look.clone();
        let task = tokio::spawn(async move {
            while !repeated.disks.is_empty() {
                tokio::time::sleep(INTERVAL).await;
                let now = repeated.clone();
                let looked = tokio::task::spawn_blocking(move || now.report()).await;
                if looked.unwrap_or(true) {
                    return;
                }
            }
        });
        RunningDiskWatch { look, task }
    }
}

/// A watch that looks until it is dropped.
#[derive(Debug)]
pub(super) struct RunningDiskWatch {
    look: Arc<Look>,
    task: tokio::task::JoinHandle<()>,
}

impl RunningDiskWatch {
    /// Looks now.
    pub fn look(&self) {
        self.look.report();
    }
}

impl Drop for RunningDiskWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Look {
    disks: Vec<Disk>,
    machines: Vec<Arc<Machine>>,
    shared: PathBuf,
    output: PathBuf,
    reporter: FaultReporter,
}

/// A file or folder that a machine has written.
struct Written {
    machine: String,
    path: PathBuf,
    bytes: u64,
}

impl Look {
    /// Reports the largest file or folder of a disk that the guests have filled; returns whether there is one.
    fn report(&self) -> bool {
        let filled = self.disks.iter().any(|disk| {
            let free = free_bytes(&disk.folder);
            free.is_some_and(|free| free < reserve_of(disk.before) && self.are_to_blame(disk, free))
        });
        let Some(written) = filled.then(|| self.largest()).flatten() else {
            return false;
        };
        let what = format!(
            "{}: {}",
            written.path.display(),
            std::io::Error::from(Errno::NOSPC)
        );
        let fault = MachineFault::DiskFull(what);
        // Nothing receives it after the end of the test.
        let _ = self.reporter.0.send((written.machine, fault));
        true
    }

    /// Whether the guests have written half of what a disk has lost, or more.
    fn are_to_blame(&self, disk: &Disk, free: u64) -> bool {
        let device = |path: &Path| path.symlink_metadata().map(|found| found.dev()).ok();
        let here = disk.folder.metadata().map(|found| found.dev()).ok();
        let written = self.written().into_iter();
        let bytes = written
            .filter(|written| device(&written.path) == here)
            .fold(0_u64, |sum, written| sum.saturating_add(written.bytes));
        bytes.saturating_mul(2) >= disk.before.saturating_sub(free)
    }

    fn largest(&self) -> Option<Written> {
        self.written()
            .into_iter()
            .max_by_key(|written| written.bytes)
    }

    fn written(&self) -> Vec<Written> {
        let mut all = Vec::new();
        let mut add = |machine: &str, path: PathBuf| {
            let bytes = size_on_disk(&path);
            let machine = machine.to_owned();
            all.push(Written {
                machine,
                path,
                bytes,
            });
        };
        let names: Vec<_> = self.machines.iter().map(|machine| machine.name()).collect();
        for path in entries(&self.shared) {
            add(&names.join(" or "), path);
        }
        for machine in &self.machines {
            for path in entries(&machine.state_folder().join(EXCHANGE_FOLDER)) {
                add(machine.name(), path);
            }
            add(machine.name(), console_log(&self.output, machine.name()));
        }
        all
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// How many bytes a file, or a folder with all that is in it, takes on its disk. Links are not followed.
fn size_on_disk(path: &Path) -> u64 {
    const BLOCK_BYTES: u64 = 512;
    let entries = WalkDir::new(path).same_file_system(true).into_iter();
    let sizes = entries.flatten().filter_map(|entry| entry.metadata().ok());
    sizes.fold(0, |sum: u64, found| {
        sum.saturating_add(found.blocks().saturating_mul(BLOCK_BYTES))
    })
}
