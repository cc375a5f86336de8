//! Fetches an npm package that carries a ready program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::tool::{Error, output};

#[derive(Deserialize)]
struct Description {
    version: String,
}

/// Downloads and unpacks `package` below `folder`; returns its folder, named
/// `NAME-VERSION`, and its version.
///
/// # Errors
/// Returns an error if npm or tar is missing or fails, or the package describes itself badly.
pub fn fetch(folder: &Path, name: &str, package: &str) -> Result<(PathBuf, String), Error> {
    let packed = output(
        Command::new("npm")
            .current_dir(folder)
            .args(["pack", "--silent", "--", package]),
    )?;
    let archive = packed.trim().lines().last().unwrap_or_default().to_owned();
    output(
        Command::new("tar")
            .current_dir(folder)
            .args(["--no-same-owner", "-xzf"])
            .arg(&archive),
    )?;
    let unpacked = folder.join("package");
    let description = unpacked.join("package.json");
    let text =
        fs::read_to_string(&description).map_err(|error| Error::file(&description, error))?;
    let Description { version } = serde_json::from_str(&text)
        .map_err(|error| Error::file(&description, std::io::Error::other(error)))?;
    let named = folder.join(format!("{name}-{version}"));
    fs::rename(&unpacked, &named).map_err(|error| Error::file(&named, error))?;
    Ok((named, version))
}
