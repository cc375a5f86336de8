//! Gives machines the disks that an earlier run has saved.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SessionError;
use crate::host::DISKS;
use crate::machine::{Machine, check_disks_in};
use crate::model::manifest::Manifest;

/// Checks that the disks in the output folder of an earlier run are those of machines of a test.
///
/// # Errors
/// Returns an error if the run has saved none, the test has no machine of a name, or a file is no disk.
pub fn check_disks(output_folder: &Path, manifest: &Manifest) -> Result<(), SessionError> {
    let nodes = manifest.nodes.keys();
    let names: Vec<&str> = nodes
        .filter_map(|node| manifest.machine_name(node))
        .collect();
    for (name, folder) in saved(output_folder)? {
        if !names.contains(&&*name) {
            let reason = format!(
                "the test has no machine `{name}`; it has: {}",
                names.join(", ")
            );
            return Err(SessionError::Disks { folder, reason });
        }
        check_disks_in(&folder).map_err(failed(&folder))?;
    }
    Ok(())
}

/// Copies the disks in the output folder of an earlier run to the machines of these names.
///
/// # Errors
/// Returns an error as [`check_disks`] does, or if a file cannot be copied.
pub(super) fn restore_disks(
    output_folder: &Path,
    machines: &BTreeMap<String, Arc<Machine>>,
) -> Result<(), SessionError> {
    for (name, folder) in saved(output_folder)? {
        let mut found = machines.values().filter(|machine| machine.name() == name);
        if let Some(machine) = found.next() {
            machine.restore_disks(&folder).map_err(failed(&folder))?;
        }
    }
    Ok(())
}

/// The folders of saved disks, by the names of their machines.
fn saved(output_folder: &Path) -> Result<Vec<(String, PathBuf)>, SessionError> {
    let folder = output_folder.join(DISKS);
    let named = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        Ok((
            entry.file_name().to_string_lossy().into_owned(),
            entry.path(),
        ))
    };
    let entries = fs::read_dir(&folder).map_err(failed(&folder))?;
    entries
        .map(named)
        .collect::<io::Result<Vec<_>>>()
        .map_err(failed(&folder))
}

fn failed(folder: &Path) -> impl Fn(io::Error) -> SessionError {
    let folder = folder.to_owned();
    move |source| SessionError::Disks {
        folder: folder.clone(),
        reason: match source.kind() {
            io::ErrorKind::NotFound => "the run has not called `save_disks()`".to_owned(),
            _ => source.to_string(),
        },
    }
}
