//! The limits of a container, and how the kernel says that one is reached.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::hierarchy::{CONTROLLERS, Controller, GroupPaths};
use super::plan::Plan;

/// Processes and threads of a guest for each MiB of its memory. A kernel of its own would allow four times as many.
const PROCESSES_PER_MIB: u64 = 2;

/// The fewest that a guest may have: a system with few services has about a hundred.
const FEWEST_PROCESSES: u64 = 1024;

/// Between two looks at the groups of a machine.
const INTERVAL: Duration = Duration::from_millis(100);

/// How much a guest may take of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    memory_mib: u64,
    processes: u64,
}

impl Limits {
    /// The limits of a guest with this memory, in MiB.
    pub fn of(memory_mib: u64) -> Self {
        Self {
            memory_mib,
            processes: (memory_mib * PROCESSES_PER_MIB).max(FEWEST_PROCESSES),
        }
    }

    /// Sets the limit of a controller for a group that has it. A file that this kernel has not is no error.
    pub fn set(self, controller: Controller, group: &Path) {
        let bytes = (self.memory_mib << 20).to_string();
        let files = match controller {
            Controller::Memory => vec![
                ("memory.max", bytes.clone()),
                ("memory.swap.max", "0".to_owned()),
                ("memory.limit_in_bytes", bytes.clone()),
                ("memory.memsw.limit_in_bytes", bytes),
            ],
            Controller::Processes => vec![("pids.max", self.processes.to_string())],
        };
        for (name, value) in files {
            let file = group.join(name);
            if file.exists() {
                let _ = fs::write(file, value);
            }
        }
    }
}

/// Watches the groups of a machine until it is dropped, and then looks a last time.
#[derive(Debug)]
pub(super) struct LimitWatch {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl LimitWatch {
    /// Starts to watch. `console` gets a line when a limit is reached, as that of a kernel of the guest's own would.
    pub fn start(plan: &Plan, console: impl Write + Send + 'static) -> Self {
        let gauges = Gauge::all(&plan.groups);
        let (stop, stopped) = mpsc::channel();
        let limits = Limits::of(plan.node.granted_mib(plan.memory_mib));
        let thread = thread::spawn(move || watch(gauges, limits, &stopped, console));
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for LimitWatch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(
    mut gauges: Vec<Gauge>,
    limits: Limits,
    stopped: &mpsc::Receiver<()>,
    mut console: impl Write,
) {
    loop {
        let last = stopped.recv_timeout(INTERVAL) == Err(mpsc::RecvTimeoutError::Disconnected);
        for gauge in gauges.iter_mut().filter(|gauge| !gauge.reported) {
            if gauge.is_reached() {
                gauge.reported = true;
                let line = limits.message(gauge.controller);
                let _ = console.write_all(format!("\r\n{line}\r\n").as_bytes());
                let _ = console.flush();
            }
        }
        if last {
            return;
        }
    }
}

impl Limits {
    /// The line that a kernel of the guest's own would print, with the limit.
    fn message(self, controller: Controller) -> String {
        match controller {
            Controller::Memory => format!(
                "Out of memory: Killed process of the container: its limit is {} MiB (virtualisation.memorySize)",
                self.memory_mib
            ),
            Controller::Processes => format!(
                "Out of processes: the container has reached its limit of {} ({PROCESSES_PER_MIB} for each MiB of virtualisation.memorySize)",
                self.processes
            ),
        }
    }
}

/// The files in which the kernel counts how often a limit was reached.
#[derive(Debug)]
struct Gauge {
    controller: Controller,
    /// A file, and the key of its line that counts.
    count: (PathBuf, &'static str),
    reported: bool,
}

/// Whether a limit of these groups was reached.
pub(super) fn is_limit_reached(groups: &GroupPaths) -> bool {
    Gauge::all(groups).iter().any(Gauge::is_reached)
}

impl Gauge {
    fn all(groups: &GroupPaths) -> Vec<Self> {
        CONTROLLERS
            .into_iter()
            .filter_map(|controller| Self::of(controller, groups))
            .collect()
    }

    fn of(controller: Controller, groups: &GroupPaths) -> Option<Self> {
        let group = groups.of(controller)?;
        // The local ones count what this group's limit has done, and not those that the guest has set below it.
        let counts: &[_] = match controller {
            Controller::Memory => &[
                ("memory.events.local", "oom"),
                ("memory.oom_control", "oom_kill"),
            ],
            Controller::Processes => &[("pids.events.local", "max"), ("pids.events", "max")],
        };
        let counts = counts.iter().map(|(name, key)| (group.join(name), *key));
        let mut counts = counts.filter(|(file, _)| file.exists());
        Some(Self {
            controller,
            count: counts.next()?,
            reported: false,
        })
    }

    fn is_reached(&self) -> bool {
        let (file, key) = &self.count;
        fs::read_to_string(file).is_ok_and(|text| count_of(&text, key) > 0)
    }
}

/// The number in a line `KEY NUMBER`.
fn count_of(text: &str, key: &str) -> u64 {
    text.lines()
        .find_map(|line| line.split_once(' ').filter(|(found, _)| *found == key))
        .and_then(|(_, number)| number.trim().parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_follow_the_memory() {
        assert_eq!(Limits::of(192).processes, 1024);
        assert_eq!(Limits::of(2048).processes, 4096);
    }

    #[test]
    fn events_are_counted_by_their_key() {
        let text = "low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\n";
        assert_eq!(count_of(text, "oom"), 2);
        assert_eq!(count_of(text, "oom_kill"), 3);
        assert_eq!(count_of(text, "none"), 0);
    }

    #[test]
    fn limits_are_set_in_groups_of_either_version() {
        for name in ["memory.max", "memory.limit_in_bytes"] {
            let group = tempfile::tempdir().unwrap();
            let file = group.path().join(name);
            fs::write(&file, "").unwrap();
            Limits::of(192).set(Controller::Memory, group.path());
            assert_eq!(fs::read_to_string(&file).unwrap(), "201326592");
            assert_eq!(fs::read_dir(group.path()).unwrap().count(), 1);
        }
    }
}
