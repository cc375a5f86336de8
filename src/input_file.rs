//! Files that a command line names: scripts and JSON.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::bounded_file::{read_bounded, read_text};
use crate::source_map::SourceMap;

/// Why a file cannot be used.
#[derive(Debug, Error)]
pub enum InputFileError {
    #[error("the script {path} cannot be read: {source}")]
    Script {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the script {path} is not UTF-8: the byte at {position} is wrong")]
    NotUtf8 { path: PathBuf, position: usize },
    #[error("{path}: {reason}")]
    Json { path: PathBuf, reason: String },
}

/// The largest file that is read.
const MOST_BYTES: u64 = 64 << 20;

/// Reads a script.
///
/// # Errors
/// Returns an error if it cannot be read as text.
pub fn read_script(path: &Path) -> Result<SourceMap, InputFileError> {
    let bytes = read_bounded(path, MOST_BYTES).map_err(|source| InputFileError::Script {
        path: path.to_owned(),
        source,
    })?;
    let text = String::from_utf8(bytes).map_err(|error| InputFileError::NotUtf8 {
        path: path.to_owned(),
        position: error.utf8_error().valid_up_to(),
    })?;
    Ok(SourceMap::of_file(text, path))
}

/// Reads a file of JSON.
///
/// # Errors
/// Returns an error if it cannot be read, or holds something else.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, InputFileError> {
    let wrong = |reason: String| InputFileError::Json {
        path: path.to_owned(),
        reason,
    };
    let text = read_text(path, MOST_BYTES).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
}
