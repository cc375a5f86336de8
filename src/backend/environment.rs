//! The environment of run scripts: what they read, and what the test's script has set.
//!
//! The rest stays away from them: a machine's QEMU, and what a hostile guest
//! could make of it, needs no access token of the user's.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// Variables that run scripts of NixOS and their programs read.
const NAMES: [&str; 6] = [
    "PATH",
    "HOME",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "LOCALE_ARCHIVE",
];
const PREFIXES: [&str; 3] = ["QEMU_", "NIX_", "XDG_"];

/// A variable that may hold access tokens. No run script evaluates anything.
const SECRET: &str = "NIX_CONFIG";

/// The environment of this process before the script has changed it.
#[derive(Debug, Clone)]
pub struct EnvironmentAtStart(BTreeMap<OsString, OsString>);

impl EnvironmentAtStart {
    /// Takes note of it now.
    #[must_use]
    pub fn now() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// Returns the variables of this process that a run script gets.
    #[must_use]
    pub fn for_run_script(&self) -> Vec<(OsString, OsString)> {
        self.select(std::env::vars_os())
    }

    fn select(&self, now: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
        now.filter(|(name, value)| is_read(name) || self.0.get(name) != Some(value))
            .collect()
    }
}

fn is_read(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    let is_known = NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    is_known && name != SECRET
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_scripts_get_what_they_read_and_what_the_script_has_set() {
        let pairs = |pairs: &[(&str, &str)]| -> BTreeMap<OsString, OsString> {
            let pairs = pairs.iter();
            pairs
                .map(|(name, value)| (name.into(), value.into()))
                .collect()
        };
        let start = EnvironmentAtStart(pairs(&[
            ("PATH", "/bin"),
            ("NIX_CONFIG", "access-tokens = x"),
            ("GITHUB_TOKEN", "x"),
            ("CHANGED", "old"),
        ]));
        let now = pairs(&[
            ("PATH", "/bin"),
            ("QEMU_OPTS", "-s"),
            ("NIX_CONFIG", "access-tokens = x"),
            ("GITHUB_TOKEN", "x"),
            ("CHANGED", "new"),
            ("SET", "by the script"),
        ]);
        let names: Vec<OsString> = start
            .select(now.into_iter())
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["CHANGED", "PATH", "QEMU_OPTS", "SET"]);
    }
}
