//! The settings of Nix that some uses of Snowglobe need.

use std::process::Command;

use crate::child::on_path;

/// A value that a setting lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MissingSetting {
    /// As in nix.conf.
    pub name: &'static str,
    /// The missing value.
    pub value: &'static str,
    /// Things that do not work without the setting.
    pub need: &'static str,
    /// The line for nix.conf.
    pub remedy: &'static str,
    /// Lines of nix.conf.
    pub lines: &'static [&'static str],
}

/// Settings that may be missing, in the order in which they are shown.
const WANTED: [MissingSetting; 3] = [
    MissingSetting {
        name: "experimental-features",
        value: "flakes",
        need: "`nix flake check`",
        remedy: "`extra-experimental-features = nix-command flakes` in nix.conf",
        lines: &["extra-experimental-features = nix-command flakes"],
    },
    MissingSetting {
        name: "system-features",
        value: "nixos-test",
        need: "tests as derivations (`--as-derivation`, checks of flakes)",
        remedy: "`extra-system-features = nixos-test` in nix.conf",
        lines: &["extra-system-features = nixos-test"],
    },
    MissingSetting {
        name: "auto-allocate-uids",
        value: "true",
        need: "containers in tests as derivations",
        remedy: "Nix 2.12 or newer, and in nix.conf: `extra-experimental-features = auto-allocate-uids cgroups`, `auto-allocate-uids = true`, `use-cgroups = true`, `extra-system-features = uid-range`",
        lines: &[
            "extra-experimental-features = auto-allocate-uids cgroups",
            "auto-allocate-uids = true",
            "use-cgroups = true",
            "extra-system-features = uid-range",
        ],
    },
];

/// Lists the settings that lack something; None if there is no Nix, or it does not say.
pub(super) fn missing_settings() -> Option<Vec<MissingSetting>> {
    let output = Command::new(on_path("nix")?)
        // The command's name of all versions; newer ones call it `nix config show`.
        .args([
            "--extra-experimental-features",
            "nix-command",
            "show-config",
        ])
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(missing_in(&String::from_utf8_lossy(&output.stdout)))
}

/// Returns the settings that are missing in lines `NAME = VALUE…`.
fn missing_in(settings: &str) -> Vec<MissingSetting> {
    let has = |wanted: &MissingSetting| {
        settings
            .lines()
            .filter_map(|line| line.split_once('='))
            .filter(|(name, _)| name.trim() == wanted.name)
            .any(|(_, values)| values.split_whitespace().any(|value| value == wanted.value))
    };
    WANTED.into_iter().filter(|wanted| !has(wanted)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_settings_lack_is_found() {
        let all = "auto-allocate-uids = true\nexperimental-features = flakes nix-command\nsystem-features = kvm nixos-test\n";
        assert_eq!(missing_in(all), []);
        let old = "experimental-features = \nsystem-features = kvm nixos-test-x\n";
        assert_eq!(missing_in(old), WANTED);
    }
}
