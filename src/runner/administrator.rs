//! The requests of a user without root to an administrator: commands to paste, or lines of a NixOS configuration.

use std::fs;
use std::path::Path;

use nix::unistd::{User, getuid};

use super::doctor::{Grant, HostPart, PartState};

/// How many user IDs a guest has, and from where on accounts of the host have none.
const IDS: u64 = 65_536;
const FIRST_ID: u64 = 100_000;

/// The form in which an administrator sets up the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HostForm {
    /// Commands for root.
    Commands,
    /// The configuration of a NixOS.
    Configuration,
}

/// Returns a block of text for the administrator; `None` if nothing is missing that needs one, or the user is root.
#[must_use]
pub fn administrator_request(parts: &[HostPart]) -> Option<String> {
    if getuid().is_root() {
        return None;
    }
    let user = User::from_uid(getuid()).ok().flatten();
    let name = user.map_or_else(|| getuid().to_string(), |user| user.name);
    let form = if Path::new("/etc/NIXOS").exists() {
        HostForm::Configuration
    } else {
        HostForm::Commands
    };
    let taken =
        ["/etc/subuid", "/etc/subgid"].map(|file| fs::read_to_string(file).unwrap_or_default());
    let grants: Vec<Grant> = parts.iter().filter_map(grant_of).collect();
    write_request(&grants, form, &name, free_range(&taken.concat()))
}

fn grant_of(part: &HostPart) -> Option<Grant> {
    match part.state {
        PartState::Missing { grant, .. } => grant,
        PartState::Present(_) => None,
    }
}

fn write_request(
    grants: &[Grant],
    form: HostForm,
    user: &str,
    range: (u64, u64),
) -> Option<String> {
    let lines = match form {
        HostForm::Commands => commands(grants, user, range),
        HostForm::Configuration => configuration(grants, user),
    };
    if lines.is_empty() {
        return None;
    }
    let title = match form {
        HostForm::Commands => "To ask an administrator for, as commands for root",
        HostForm::Configuration => {
            "To ask an administrator for, in the configuration of this NixOS"
        }
    };
    Some(format!("\n{title}:\n\n{}\n", lines.join("\n")))
}

fn commands(grants: &[Grant], user: &str, (first, last): (u64, u64)) -> Vec<String> {
    let user = shlex::try_quote(user).unwrap_or_default();
    let mut packages = Vec::new();
    let mut settings = Vec::new();
    let mut lines = Vec::new();
    for grant in grants {
        match grant {
            Grant::Package { debian, .. } => packages.push(*debian),
            Grant::UserIds => {
                packages.push("uidmap");
                lines.push(format!(
                    "usermod --add-subuids {first}-{last} --add-subgids {first}-{last} {user}"
                ));
            }
            Grant::Kvm => lines.push(format!("usermod --append --groups kvm {user}")),
            Grant::UserNamespaces => {
                lines.push("sysctl --write user.max_user_namespaces=10000".to_owned());
            }
            Grant::ControlGroup => lines.push(format!("loginctl enable-linger {user}")),
            Grant::Tun => lines.push("modprobe tun && chmod 666 /dev/net/tun".to_owned()),
            Grant::NixSettings(more) => settings.extend(more.iter().copied()),
        }
    }
    if !packages.is_empty() {
        lines.insert(0, format!("apt install {}", packages.join(" ")));
    }
    if !settings.is_empty() {
        lines.push("tee --append /etc/nix/nix.conf <<END".to_owned());
        lines.extend(settings.into_iter().map(str::to_owned));
        lines.push("END".to_owned());
        lines.push("systemctl restart nix-daemon".to_owned());
    }
    lines
}

fn configuration(grants: &[Grant], user: &str) -> Vec<String> {
    let user = user.replace(['"', '\\', '$'], "");
    let mut settings = Vec::new();
    let mut lines = Vec::new();
    for grant in grants {
        match grant {
            Grant::Package { nixpkgs, .. } => {
                lines.push(format!("environment.systemPackages = [ pkgs.{nixpkgs} ];"));
            }
            Grant::UserIds => {
                lines.push(format!("users.users.\"{user}\".autoSubUidGidRange = true;"));
            }
            Grant::Kvm => lines.push(format!("users.users.\"{user}\".extraGroups = [ \"kvm\" ];")),
            Grant::UserNamespaces => {
                lines.push("boot.kernel.sysctl.\"user.max_user_namespaces\" = 10000;".to_owned());
            }
            Grant::ControlGroup => lines.push(format!("users.users.\"{user}\".linger = true;")),
            Grant::Tun => lines.push("boot.kernelModules = [ \"tun\" ];".to_owned()),
            Grant::NixSettings(more) => settings.extend(more.iter().copied()),
        }
    }
    if !settings.is_empty() {
        lines.push("nix.extraOptions = ''".to_owned());
        lines.extend(settings.into_iter().map(|line| format!("  {line}")));
        lines.push("'';".to_owned());
    }
    lines
}

/// Returns the first and the last ID of a range that no line `NAME:FIRST:COUNT` has.
fn free_range(used: &str) -> (u64, u64) {
    let end = |line: &str| {
        let mut numbers = line.split(':').skip(1).map(|it| it.trim().parse::<u64>());
        let (first, count) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        first.checked_add(count)
    };
    let first = used.lines().filter_map(end).max().unwrap_or(FIRST_ID);
    let first = first.clamp(FIRST_ID, u64::from(u32::MAX) - IDS);
    (first, first + IDS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Grant; 7] = [
        Grant::Package {
            debian: "qemu-system-x86",
            nixpkgs: "qemu",
        },
        Grant::UserIds,
        Grant::Kvm,
        Grant::UserNamespaces,
        Grant::ControlGroup,
        Grant::Tun,
        Grant::NixSettings(&["extra-system-features = nixos-test"]),
    ];

    #[test]
    fn commands_are_whole() {
        let text = write_request(&ALL, HostForm::Commands, "it's", (100_000, 165_535)).unwrap();
        let expected = "\nTo ask an administrator for, as commands for root:\n\n\
            apt install qemu-system-x86 uidmap\n\
            usermod --add-subuids 100000-165535 --add-subgids 100000-165535 \"it's\"\n\
            usermod --append --groups kvm \"it's\"\n\
            sysctl --write user.max_user_namespaces=10000\n\
            loginctl enable-linger \"it's\"\n\
            modprobe tun && chmod 666 /dev/net/tun\n\
            tee --append /etc/nix/nix.conf <<END\n\
            extra-system-features = nixos-test\n\
            END\n\
            systemctl restart nix-daemon\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_configuration_is_whole() {
        let text = write_request(&ALL, HostForm::Configuration, "alice", (0, 0)).unwrap();
        let expected = "\nTo ask an administrator for, in the configuration of this NixOS:\n\n\
            environment.systemPackages = [ pkgs.qemu ];\n\
            users.users.\"alice\".autoSubUidGidRange = true;\n\
            users.users.\"alice\".extraGroups = [ \"kvm\" ];\n\
            boot.kernel.sysctl.\"user.max_user_namespaces\" = 10000;\n\
            users.users.\"alice\".linger = true;\n\
            boot.kernelModules = [ \"tun\" ];\n\
            nix.extraOptions = ''\n\
            \x20 extra-system-features = nixos-test\n\
            '';\n";
        assert_eq!(text, expected);
        assert_eq!(write_request(&[], HostForm::Commands, "x", (0, 0)), None);
    }

    #[test]
    fn ranges_do_not_overlap() {
        assert_eq!(free_range(""), (100_000, 165_535));
        assert_eq!(
            free_range("a:100000:65536\nb:165536:65536\nbad\nc:x:1\n"),
            (231_072, 296_607)
        );
        assert_eq!(free_range("a:1:18446744073709551615\n"), (100_000, 165_535));
        let (_, last) = free_range("a:4294967000:65536\n");
        assert!(last < u64::from(u32::MAX));
    }
}
