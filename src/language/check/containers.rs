//! Calls of a script that a container cannot do.

use std::ops::Range;
use std::sync::LazyLock;

use regex_lite::Regex;
use ruff_text_size::Ranged;
use rustpython_vm::compiler::ast::{Expr, ExprCall};
use rustpython_vm::compiler::parser;

use super::names::ScriptNames;
use super::{Finding, TestContext, tree_walk, with_deep_stack};

/// Methods of machines with the device that they need, and that a container lacks.
const METHODS: [(&str, &str); 14] = [
    ("screenshot", "display"),
    ("get_screen_text", "display"),
    ("get_screen_text_variants", "display"),
    ("wait_for_text", "display"),
    ("wait_for_x", "display"),
    ("get_tty_text", "virtual terminals"),
    ("wait_until_tty_matches", "virtual terminals"),
    ("send_key", "keyboard"),
    ("send_chars", "keyboard"),
    ("send_monitor_command", "QEMU monitor"),
    ("switch_root", "first stage"),
    ("qmp_client", "QEMU monitor"),
    ("clock", "clock of its own"),
    ("disk", "disks"),
];

/// Functions that rewind all machines.
const REWINDING: [&str; 2] = ["rewind", "branch"];

/// Commands that change the kernel of the machine, or its disks.
static COMMANDS: LazyLock<Regex> = LazyLock::new(|| {
    let patterns = [
        // Where cores go is a setting of the host's.
        r"\b(modprobe|insmod|rmmod|kexec|sysrq|coredumpctl)\b",
        r"\b(mkfs(\.\w+)?|mkswap|swapon|losetup|cryptsetup|mdadm|parted|sfdisk|fdisk|wipefs|zpool|(pv|vg|lv)create)\b",
        r"\bmount\s+(-\S+\s+\S*\s*)*/dev/",
        r"\bmount\s+(-\S+\s+(\S+\s+)?)*-t\s*(nfs4?|cifs|ceph|9p|ext[234]|btrfs|xfs|vfat)\b",
        r"\b(date\s+(-s|--set)|hwclock|timedatectl\s+set-\w+)\b",
        // Those of networks belong to the container.
        r"\bsysctl\s+(-w\s+|--write\s+)?(vm|kernel|fs|dev|debug|user)\.[\w.]+\s*=",
    ];
    Regex::new(&patterns.join("|")).expect("it is constant")
});

/// Methods that run commands.
const RUNNERS: [&str; 6] = [
    "execute",
    "succeed",
    "fail",
    "wait_until_succeeds",
    "wait_until_fails",
    "start_background",
];

/// Something that a container cannot do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerObstacle {
    /// None if it can be any machine.
    pub machine: Option<String>,
    /// Such as `send_key`, or a command.
    pub call: String,
    /// The device that a container lacks, such as `keyboard`.
    pub lacks: &'static str,
    pub kind: ObstacleKind,
    /// Bytes of the script.
    pub range: Range<usize>,
}

/// How sure an obstacle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObstacleKind {
    /// The call fails in a container.
    Certain,
    /// A command may fail there.
    Likely,
}

impl ContainerObstacle {
    /// Whether it is about a machine.
    #[must_use]
    pub fn concerns(&self, machine: &str) -> bool {
        self.machine.as_deref().is_none_or(|name| name == machine)
    }
}

/// Lists what stands in the way of containers, in the order of the script. `machines` are the names of all machines.
#[must_use]
pub fn container_obstacles(source: &str, machines: &[String]) -> Vec<ContainerObstacle> {
    with_deep_stack(|| obstacles_here(source, machines))
}

fn obstacles_here(source: &str, machines: &[String]) -> Vec<ContainerObstacle> {
    let Ok(parsed) = parser::parse_module(source) else {
        return Vec::new();
    };
    obstacles(&tree_walk::read(parsed.suite()), source, machines)
}

/// The findings of a script whose test has containers.
pub(super) fn check(source: &str, context: &TestContext, names: &ScriptNames<'_>) -> Vec<Finding> {
    let machines = context.machines.as_deref().unwrap_or_default();
    let are_all = machines
        .iter()
        .all(|machine| context.containers.contains(machine));
    let is_one = |obstacle: &ContainerObstacle| match &obstacle.machine {
        Some(machine) => context.containers.contains(machine),
        None => are_all || REWINDING.contains(&&*obstacle.call),
    };
    if context.containers.is_empty() {
        return Vec::new();
    }
    let found = obstacles(names, source, machines).into_iter();
    found.filter(is_one).map(finding).collect()
}

fn finding(obstacle: ContainerObstacle) -> Finding {
    let ContainerObstacle {
        machine,
        call,
        lacks,
        kind,
        range,
    } = obstacle;
    let whose = machine.map_or_else(
        || "the machines are containers".to_owned(),
        |name| format!("`{name}` is a container"),
    );
    let help = Some("run it as a virtual machine: `--backend vm`, or `auto`".to_owned());
    match kind {
        ObstacleKind::Certain => {
            let message = format!("{whose}, which has no {lacks}: `{call}` fails");
            Finding::error("container", message, range).with_help(help)
        }
        ObstacleKind::Likely => {
            let message = format!("{whose}, which has no {lacks}: `{call}` may fail");
            Finding::warning("container", message, range).with_help(help)
        }
    }
}

fn obstacles(names: &ScriptNames<'_>, source: &str, machines: &[String]) -> Vec<ContainerObstacle> {
    let found = names.calls.iter();
    let mut found: Vec<_> = found
        .filter_map(|call| obstacle(call.node, source, machines))
        .collect();
    found.sort_by_key(|obstacle| obstacle.range.start);
    found
}

fn obstacle(call: &ExprCall, source: &str, machines: &[String]) -> Option<ContainerObstacle> {
    if let Some(name) = call.func.as_name_expr() {
        let rewinds = REWINDING.contains(&name.id.as_str());
        return rewinds.then(|| ContainerObstacle {
            machine: None,
            call: name.id.to_string(),
            lacks: "state that can be saved",
            // It may be a function of the script's own.
            kind: ObstacleKind::Likely,
            range: call.range().to_std_range(),
        });
    }
    let called = call.func.as_attribute_expr()?;
    // A call of a property of the machine: `machine.clock.jump()`.
    let property = called.value.as_attribute_expr();
    let property =
        property.filter(|inner| METHODS.iter().any(|(name, _)| *name == inner.attr.as_str()));
    let attribute = property.unwrap_or(called);
    let method = attribute.attr.as_str();
    let range = call.range().to_std_range();
    let (called, lacks, kind) = match METHODS.iter().find(|(name, _)| *name == method) {
        Some((name, lacks)) => ((*name).to_owned(), *lacks, ObstacleKind::Certain),
        None if RUNNERS.contains(&method) => {
            let arguments = source.get(call.arguments.range().to_std_range())?;
            let command = COMMANDS.find(arguments)?.as_str().to_owned();
            let lacks = "kernel and disks of its own";
            (command, lacks, ObstacleKind::Likely)
        }
        None => return None,
    };
    Some(ContainerObstacle {
        machine: machine_of(&attribute.value, machines),
        call: called,
        lacks,
        kind,
        range,
    })
}

/// The machine that a call is of, if the script names it there.
fn machine_of(receiver: &Expr, machines: &[String]) -> Option<String> {
    let name = receiver.as_name_expr()?.id.as_str();
    if name == "machine" && machines.len() == 1 {
        return machines.first().cloned();
    }
    machines.iter().find(|machine| *machine == name).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> Vec<(Option<String>, String)> {
        let machines = ["a".to_owned(), "b".to_owned()];
        let obstacles = container_obstacles(source, &machines);
        let found = obstacles.into_iter();
        found
            .map(|obstacle| (obstacle.machine, obstacle.call))
            .collect()
    }

    #[test]
    fn methods_and_commands_are_found_with_their_machine() {
        let script = "a.send_key('x')\nfor m in machines:\n    m.screenshot('y')\nb.succeed('modprobe loop', f'mkfs.ext4 {d}')\nb.succeed('cat /proc/mounts')\n";
        let expected = [
            (Some("a"), "send_key"),
            (None, "screenshot"),
            (Some("b"), "modprobe"),
        ];
        let expected: Vec<_> = expected
            .iter()
            .map(|(machine, call)| (machine.map(str::to_owned), (*call).to_owned()))
            .collect();
        assert_eq!(found(script), expected);
    }

    #[test]
    fn what_containers_can_do_is_no_obstacle() {
        assert_eq!(
            found("a.crash()\na.reboot()\nb.block()\na.succeed('mount', 'date +%s')\n"),
            []
        );
        assert_eq!(found("not python ("), []);
        assert_eq!(
            found("b.succeed('mount -o ro /dev/vdb /mnt')")[0].1,
            "mount -o ro /dev/"
        );
        for (command, found_part) in [
            (
                "mount -o vers=4 -t nfs server:/ /mnt",
                "mount -o vers=4 -t nfs",
            ),
            ("mount -t cifs //a/b /mnt", "mount -t cifs"),
            ("sysctl -w vm.swappiness=1", "sysctl -w vm.swappiness="),
            ("timedatectl set-time 12:00", "timedatectl set-time"),
            ("hwclock --systohc", "hwclock"),
        ] {
            assert_eq!(found(&format!("b.succeed('{command}')"))[0].1, found_part);
        }
        for command in [
            "sysctl net.ipv4.ip_forward=1",
            "sysctl vm.swappiness",
            "mount -t tmpfs none /mnt",
            "timedatectl status",
        ] {
            assert_eq!(found(&format!("b.succeed('{command}')")), []);
        }
    }

    #[test]
    fn an_obstacle_of_any_machine_concerns_all() {
        let obstacle = &container_obstacles("m.send_key('x')", &["a".to_owned()])[0];
        assert!(obstacle.concerns("a") && obstacle.kind == ObstacleKind::Certain);
    }
}
