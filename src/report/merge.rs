//! Merges the results of runs, such as those of the parts of a suite on several machines of a CI.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use crate::folders::real_path;
use crate::model::outcome::{RESULTS_VERSION, RunResults};
use crate::output_folder::RESULTS;

/// Why there is nothing to merge.
#[derive(Debug, Error)]
pub enum MergeError {
    #[error("{folder} is no output folder of `snowglobe run`: {RESULTS} cannot be read: {source}")]
    NoResults { folder: PathBuf, source: io::Error },
    #[error("{path} does not hold the results of a run: {source}")]
    Wrong {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error(
        "{path} is of version {found}, and this program reads version {RESULTS_VERSION}: make the report with the Snowglobe that ran the tests"
    )]
    Version { path: PathBuf, found: u32 },
}

/// The version, whatever else there is.
#[derive(Debug, Deserialize)]
struct Versioned {
    version: u32,
}

/// Reads the results in some output folders as those of one run; the folders of its tests are relative to `output`.
///
/// # Errors
/// When a folder holds none, or those of another version.
pub fn merge_results(folders: &[PathBuf], output: &Path) -> Result<RunResults, MergeError> {
    let mut merged = RunResults {
        version: RESULTS_VERSION,
        started_unix_s: u64::MAX,
        duration_s: 0.0,
        interrupted: false,
        tests: Vec::new(),
    };
    let mut known = BTreeSet::new();
    for folder in folders {
        // One that is named twice has not run twice.
        if !known.insert(real_path(folder)) {
            continue;
        }
        let mut results = read(folder)?;
        let prefix = relative_to(output, folder);
        for test in &mut results.tests {
            let is_known = merged.tests.iter().any(|other| other.label == test.label);
            if is_known {
                test.label = format!("{}:{}", folder.display(), test.label);
            }
            for attempt in &mut test.attempts {
                attempt.folder = prefix.join(&attempt.folder);
            }
        }
        merged.tests.extend(results.tests);
        merged.interrupted |= results.interrupted;
        merged.started_unix_s = merged.started_unix_s.min(results.started_unix_s);
        // The parts have run at the same time.
        merged.duration_s = merged.duration_s.max(results.duration_s);
    }
    Ok(merged)
}

fn read(folder: &Path) -> Result<RunResults, MergeError> {
    let path = folder.join(RESULTS);
    let text = fs::read_to_string(&path).map_err(|source| MergeError::NoResults {
        folder: folder.to_owned(),
        source,
    })?;
    let wrong = |source| MergeError::Wrong {
        path: path.clone(),
        source,
    };
    let Versioned { version } = serde_json::from_str(&text).map_err(wrong)?;
    if version != RESULTS_VERSION {
        return Err(MergeError::Version {
            path,
            found: version,
        });
    }
    serde_json::from_str(&text).map_err(wrong)
}

/// The way from one folder to another, by their own paths.
fn relative_to(from: &Path, to: &Path) -> PathBuf {
    let (from, to) = (real_path(from), real_path(to));
    let common = from
        .components()
        .zip(to.components())
        .take_while(|(left, right)| left == right)
        .count();
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    up.chain(to.components().skip(common)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_relative_to_the_report() {
        let way = |from: &str, to: &str| relative_to(Path::new(from), Path::new(to));
        assert_eq!(way("/no/out", "/no/part-1"), Path::new("../part-1"));
        assert_eq!(way("/no/out", "/no/out/a"), Path::new("a"));
        assert_eq!(way("/no/out", "/no/out"), Path::new(""));
    }
}
