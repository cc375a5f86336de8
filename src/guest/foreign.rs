//! Fetches what guests of other systems than the machine's are made of.

use std::collections::BTreeSet;

use super::apt;
use super::index::{ForeignIndex, WantedForeign, WantedPackages, units};
use super::store::NixStore;
use super::suite::Apt;
use super::tool::Error;

/// Returns what guests of a system are made of.
///
/// # Errors
/// Returns an error if there are no such guests.
pub(super) fn wanted_of<'w>(
    wanted: &'w WantedPackages,
    system: &str,
) -> Result<&'w WantedForeign, Error> {
    let known = wanted.foreign.keys().map(String::as_str);
    let unknown = || Error::UnknownSystem {
        system: system.to_owned(),
        known: known.collect::<Vec<_>>().join(", "),
    };
    wanted.foreign.get(system).ok_or_else(unknown)
}

/// Fetches the wanted and the requested packages, but those that `old` has.
///
/// # Errors
/// Returns an error if apt or Nix fails.
pub(super) fn fetch_foreign(
    store: &NixStore,
    wanted: &WantedForeign,
    left_out: &[String],
    requested: &[String],
    suite: Option<&str>,
    old: Option<ForeignIndex>,
    progress: &dyn Fn(&str),
) -> Result<ForeignIndex, Error> {
    let apt = Apt::of_architecture(&wanted.architecture, suite, progress)?;
    let (known, mut kept) = old.map(|old| (old.debs, old.requested)).unwrap_or_default();
    kept.extend(requested.iter().cloned());
    let requested = kept;
    let names: BTreeSet<String> = wanted
        .packages
        .iter()
        .chain([&wanted.kernel])
        .chain(&requested)
        .cloned()
        .collect();
    let mut packages = apt::resolve(&apt, &names, left_out)?;
    let kernel = apt::kernel_of(&packages, &wanted.kernel)?;
    let work = tempfile::tempdir().map_err(Error::temporary)?;
    let debs = store.add_debs(&apt, &packages, known, work.path(), progress)?;
    packages.retain(|name, _| name != &wanted.kernel && name != &kernel);
    Ok(ForeignIndex {
        wanted: wanted.clone(),
        requested,
        kernel,
        units: units(&packages),
        debs,
    })
}
