//! The remedy for a package that the built-in package set does not have.

use std::fs;
use std::path::{Path, PathBuf};

use regex_lite::Regex;

/// The names of all packages of the suite that the built-in guests come from, a line each, beside their index.
#[must_use]
pub fn names_beside(guest_index: &Path) -> PathBuf {
    guest_index.with_file_name("guest-names.txt")
}

/// Returns a hint if Nix's message says that an attribute is missing, which may be a package.
pub(super) fn package_hint(message: &str, guest_index: Option<&Path>) -> Option<String> {
    let missing = Regex::new(r"^[^\n]*attribute '([^'\n]+)' missing\n").ok()?;
    let name = &missing.captures(message)?[1];
    let names = guest_index.and_then(|index| fs::read_to_string(names_beside(index)).ok());
    Some(format!("\n\n{}", hint(name, names.as_deref())))
}

fn hint(name: &str, names: Option<&str>) -> String {
    let Some(names) = names else {
        return "If this is a package that Debian has: `snowglobe guest fetch NAME` adds it to the built-in ones, under \
                Debian's name."
            .to_owned();
    };
    let has = |wanted: &str| names.lines().any(|line| line == wanted);
    let module = format!("python3-{name}");
    if has(name) {
        format!(
            "Debian has a package of this name: `snowglobe guest fetch {name}` adds it as `pkgs.{name}`."
        )
    } else if has(&module) {
        format!(
            "Debian has `{module}`: `snowglobe guest fetch {module}` adds it as `pkgs.python3Packages.{name}`."
        )
    } else {
        format!(
            "If this is a package: Debian has none of the name `{name}`. `apt-cache search` finds what Debian calls it; \
             `snowglobe guest fetch NAME` adds that to the built-in ones."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_debian_has_is_named() {
        let names = Some("nginx\npython3-requests\n");
        assert_eq!(
            hint("nginx", names),
            "Debian has a package of this name: `snowglobe guest fetch nginx` adds it as `pkgs.nginx`."
        );
        assert_eq!(
            hint("requests", names),
            "Debian has `python3-requests`: `snowglobe guest fetch python3-requests` adds it as `pkgs.python3Packages.requests`."
        );
        assert!(
            hint("ngin", names)
                .starts_with("If this is a package: Debian has none of the name `ngin`.")
        );
        assert!(hint("nginx", None).contains("`snowglobe guest fetch NAME`"));
    }

    #[test]
    fn other_messages_get_no_hint() {
        assert_eq!(package_hint("error: undefined variable 'x'\n", None), None);
        assert!(package_hint("error: attribute 'x' missing\n\n at", None).is_some());
    }
}
