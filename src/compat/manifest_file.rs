//! Manifests in files.

use std::path::Path;

use super::error::CompatError;
use crate::input_file::{InputFileError, read_json};
use crate::model::manifest::{self, Manifest};

/// Reads a manifest of this version.
pub(super) fn read_manifest(file: &Path) -> Result<Manifest, CompatError> {
    let value: serde_json::Value = read_json(file)?;
    match value["version"].as_u64() {
        Some(found) if found != u64::from(manifest::VERSION) => Err(CompatError::ManifestVersion {
            path: file.to_owned(),
            found,
        }),
        _ => serde_json::from_value(value).map_err(|error| {
            let reason = error.to_string();
            let path = file.to_owned();
            InputFileError::Json { path, reason }.into()
        }),
    }
}
