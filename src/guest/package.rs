//! One package of Debian, as its list describes it.

use std::collections::BTreeSet;

/// A package that is to be fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Package {
    pub version: String,
    /// Hexadecimal.
    pub sha256: String,
    /// Packages of the same set that it needs.
    pub depends: BTreeSet<String>,
}

/// The fields of a stanza of apt's lists that are a line each.
pub(super) fn fields(stanza: &str) -> impl Iterator<Item = (&str, &str)> {
    stanza
        .lines()
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_once(": "))
}

/// `libc6:any (>= 2.36)` without architecture and condition.
pub(super) fn bare_name(dependency: &str) -> Option<&str> {
    dependency
        .split_whitespace()
        .next()
        .and_then(|name| name.split(':').next())
        .filter(|name| !name.is_empty())
}
