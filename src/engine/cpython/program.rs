//! A CPython of this host or of a test: whether scripts can run in it.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf, absolute};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::child::on_path;

/// The oldest version whose tracebacks have the columns that a report needs.
const OLDEST: (u32, u32) = (3, 11);

/// How long a program may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: u64 = 200;

const QUESTION: &str = "import sys; print('snowglobe', sys.implementation.name, '%d.%d.%d' % tuple(sys.version_info[:3]))";

/// A CPython that can run scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CPython {
    pub program: PathBuf,
    /// Such as `3.13.2`.
    version: String,
}

/// Why scripts cannot run in a Python.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PythonError {
    #[error("there is no program {0}: `--python` takes the path of a CPython")]
    Missing(PathBuf),
    #[error("{program} cannot be started: {reason}")]
    Start { program: PathBuf, reason: String },
    #[error("{0} is no CPython: `--python` takes the path of one, such as /usr/bin/python3")]
    Other(PathBuf),
    #[error(
        "{program} is Python {version}: scripts need Python {}.{} or newer; `--python PATH` names another one",
        OLDEST.0,
        OLDEST.1
    )]
    TooOld { program: PathBuf, version: String },
    #[error(
        "the package {package} brings machine code for CPython ({module}), and the test brings no CPython: `--python PATH` names one of the same version"
    )]
    NotBrought { package: String, module: PathBuf },
}

impl CPython {
    /// Asks a program what it is. A name without `/` is looked for on PATH.
    ///
    /// # Errors
    /// Returns an error if it is no CPython, or too old.
    pub fn find(program: &Path) -> Result<Self, PythonError> {
        let missing = || PythonError::Missing(program.to_owned());
        // Links stay: an environment of `venv` is found by the place of its link.
        let program = match program.to_str().filter(|name| !name.contains('/')) {
            Some(name) => on_path(name).ok_or_else(missing)?,
            None => absolute(program).map_err(|_| missing())?,
        };
        if !program.is_file() {
            return Err(PythonError::Missing(program));
        }
        let answer = answer_of(&program).map_err(|error| PythonError::Start {
            program: program.clone(),
            reason: error.to_string(),
        })?;
        let words: Vec<&str> = answer.split_whitespace().collect();
        let ["snowglobe", "cpython", version] = words.as_slice() else {
            return Err(PythonError::Other(program));
        };
        let version = (*version).to_owned();
        let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
        if (numbers.next(), numbers.next()) < (Some(OLDEST.0), Some(OLDEST.1)) {
            return Err(PythonError::TooOld { program, version });
        }
        Ok(Self { program, version })
    }
}

impl fmt::Display for CPython {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CPython {}", self.version)
    }
}

/// Returns what a program prints for the question. One that prints without an end, or never, is ended.
fn answer_of(program: &Path) -> io::Result<String> {
    let mut child = Command::new(program)
        .args(["-I", "-c", QUESTION])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let (tell, answer) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        thread::spawn(move || {
            let mut text = Vec::new();
            // What cannot be read is no answer.
            let _ = output.take(LONGEST_ANSWER).read_to_end(&mut text);
            let _ = tell.send(String::from_utf8_lossy(&text).into_owned());
        });
    }
    let text = answer.recv_timeout(PATIENCE).unwrap_or_default();
    child.kill()?;
    child.wait()?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Returns what comes of a program that prints a line.
    fn find(line: &str) -> Result<CPython, PythonError> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("python3");
        fs::write(&program, format!("#!/bin/sh\n{line}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        CPython::find(&program)
    }

    #[test]
    fn only_a_cpython_that_is_new_enough_will_do() {
        let found = find("echo snowglobe cpython 3.11.0").unwrap();
        assert_eq!(found.to_string(), "CPython 3.11.0");
        assert!(find("echo snowglobe cpython 4.0.1").is_ok());
        for old in ["3.10.9", "2.7.18", "3"] {
            let found = find(&format!("echo snowglobe cpython {old}"));
            assert!(
                matches!(found, Err(PythonError::TooOld { .. })),
                "{found:?}"
            );
        }
        for other in ["echo snowglobe pypy 3.11.0", "yes", "exit 1", "kill -9 $$"] {
            let found = find(other);
            assert!(matches!(found, Err(PythonError::Other(_))), "{found:?}");
        }
        let found = CPython::find(Path::new("/nonexistent/python3"));
        assert!(matches!(found, Err(PythonError::Missing(_))), "{found:?}");
        let found = CPython::find(Path::new("no-such-python"));
        assert!(matches!(found, Err(PythonError::Missing(_))), "{found:?}");
    }
}
