//! The folders of this program below the user's home, by the XDG specification.

use std::path::PathBuf;

/// Those that the specification tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What can be made again.
    Cache,
    Data,
    /// What a session leaves for the next one.
    State,
}

/// This program's folder of a kind, made or not; None where neither the
/// specification's variable nor `HOME` is set.
#[must_use]
pub fn own(kind: Kind) -> Option<PathBuf> {
    let (variable, usual) = match kind {
        Kind::Cache => ("XDG_CACHE_HOME", ".cache"),
        Kind::Data => ("XDG_DATA_HOME", ".local/share"),
        Kind::State => ("XDG_STATE_HOME", ".local/state"),
    };
    let base = std::env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(usual)))?;
    Some(base.join("snowglobe"))
}
