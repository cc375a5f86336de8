//! Merges the results of runs, such as those of the parts of a suite on several machines of a CI.

use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use crate::bounded_file::read_text;
use crate::folders::real_path;
use crate::model::outcome::{RESULTS_VERSION, RunResults, TestResult};
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

/// Reads the results in some output folders as those of one run, which names those that hold none, such as those of
/// machines that have died; the folders of its tests are relative to `output`.
///
/// # Errors
/// Returns an error if no folder holds any.
pub fn merge_results(folders: &[PathBuf], output: &Path) -> Result<RunResults, MergeError> {
    let mut missing = Vec::new();
    let mut parts = Vec::new();
    let mut known = BTreeSet::new();
    for folder in folders {
        // One that is named twice has not run twice.
        if !known.insert(real_path(folder)) {
            continue;
        }
        match read_results(folder) {
            Ok(results) => parts.push((folder, results)),
            Err(error) => missing.push(error),
        }
    }
    if parts.is_empty() && !missing.is_empty() {
        return Err(missing.remove(0));
    }
    let mut results = merge(parts, output);
    let missing = missing.iter().map(ToString::to_string);
    results.missing.extend(missing);
    Ok(results)
}

fn merge(parts: Vec<(&PathBuf, RunResults)>, output: &Path) -> RunResults {
    let started = parts.iter().map(|(_, part)| part.started_unix_s);
    let started_unix_s = started.min().unwrap_or_default();
    let mut merged = RunResults {
        version: RESULTS_VERSION,
        started_unix_s,
        duration_s: 0.0,
        interrupted: false,
        missing: Vec::new(),
        tests: Vec::new(),
    };
    let mut known = BTreeSet::new();
    for (folder, part) in parts {
        let prefix = relative_to(output, folder);
        #[allow(clippy::cast_precision_loss)]
        let later_s = (part.started_unix_s - started_unix_s) as f64;
        for mut test in part.tests {
            // A report of several folders may be one of them, and what does not evaluate is in several.
            if !known.insert(identity(folder, &test)) {
                continue;
            }
            if merged.tests.iter().any(|other| other.label == test.label) {
                test.label = format!("{}:{}", folder.display(), test.label);
            }
            for attempt in &mut test.attempts {
                attempt.folder = prefix.join(&attempt.folder);
            }
            test.started_s = test.started_s.map(|started_s| started_s + later_s);
            merged.tests.push(test);
        }
        merged.interrupted |= part.interrupted;
        let missing = part.missing.iter();
        let named = missing.map(|reason| format!("{}: {reason}", folder.display()));
        merged.missing.extend(named);
        merged.duration_s = merged.duration_s.max(later_s + part.duration_s);
    }
    merged
}

/// Returns the identity of a result: its output folders, or for a test without any the reason why it was not run.
fn identity(folder: &Path, test: &TestResult) -> (Vec<PathBuf>, [String; 4]) {
    let folders = test.attempts.iter().map(|attempt| &attempt.folder);
    let folders: Vec<PathBuf> = folders.map(|path| real_path(&folder.join(path))).collect();
    if !folders.is_empty() {
        return (folders, <[String; 4]>::default());
    }
    let message = test.message.clone().unwrap_or_default();
    let (source, attribute) = (test.source.clone(), test.attribute.clone());
    (folders, [source, attribute, test.name.clone(), message])
}

/// The largest file of results that is read.
const MOST_BYTES: u64 = 256 << 20;

/// Reads the results in an output folder.
///
/// # Errors
/// Returns an error if it holds none, or those of another version.
pub fn read_results(folder: &Path) -> Result<RunResults, MergeError> {
    let path = folder.join(RESULTS);
    let text = read_text(&path, MOST_BYTES).map_err(|source| MergeError::NoResults {
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
