//! How much memory there is for tests.

use std::fs;
use std::path::{Path, PathBuf};

const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// The memory that can be had now, in MiB: what the host can give, as far as the control groups of this process let it.
pub(super) fn available_mib() -> Option<u64> {
    let host = of_host()?;
    let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group.lines().find_map(|line| line.strip_prefix("0::/"));
    let group = PathBuf::from(CONTROL_GROUPS).join(group.unwrap_or_default());
    let groups = group
        .ancestors()
        .take_while(|folder| folder.starts_with(CONTROL_GROUPS));
    let granted = groups.filter_map(of_group).min();
    Some(granted.map_or(host, |granted| granted.min(host)))
}

fn of_host() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024)
}

/// Returns the memory that a control group may still take, in bytes; `None` without a limit.
fn of_group(folder: &Path) -> Option<u64> {
    let number = |name: &str| -> Option<u64> {
        let text = fs::read_to_string(folder.join(name)).ok()?;
        text.trim().parse().ok()
    };
    let (most, used) = (number("memory.max")?, number("memory.current")?);
    let used = used.saturating_sub(reclaimable(folder));
    Some(most.saturating_sub(used) >> 20)
}

/// Returns the memory of a group that the kernel can reclaim, in bytes: mostly copies of files.
fn reclaimable(folder: &Path) -> u64 {
    let text = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let fields = text.lines().filter_map(|line| line.split_once(' '));
    let given_up = fields.filter(|(name, _)| matches!(*name, "inactive_file" | "slab_reclaimable"));
    given_up
        .filter_map(|(_, bytes)| bytes.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_without_a_limit_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(of_group(folder.path()), None);
        write("memory.max", "max\n");
        write("memory.current", "1048576\n");
        assert_eq!(of_group(folder.path()), None);
        write("memory.max", "4194304\n");
        assert_eq!(of_group(folder.path()), Some(3));
        write(
            "memory.stat",
            "anon 0\ninactive_file 524288\nslab_reclaimable 524288\n",
        );
        assert_eq!(of_group(folder.path()), Some(4));
        assert!(available_mib().is_some_and(|mib| mib > 0));
    }
}
