//! Runs apt, npm and their like; why a set-up of the guests failed.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use thiserror::Error as ThisError;

/// Why a fetch failed.
#[derive(Debug, ThisError)]
pub enum Error {
    #[error("the built-in guests are not set up on this machine: run `snowglobe guest fetch` once")]
    NotSetUp,
    #[error(
        "`{program}` cannot be started: {source}; the built-in guests are made from Debian and npm packages, and are set up on a Debian machine with apt and npm"
    )]
    Missing { program: String, source: io::Error },
    #[error("`{command}` failed:\n{message}")]
    Failed { command: String, message: String },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("--suite: {0:?} is no name of a suite of Debian, such as `trixie`, or `own`")]
    BadSuite(String),
    #[error(
        "apt on this machine has no source of Debian itself, from which another suite could come"
    )]
    NoMirror,
    #[error(
        "--system: there are no built-in guests of {system:?} beside the machine's own; there are those of {known}"
    )]
    UnknownSystem { system: String, known: String },
    #[error("apt did not download the package {0}")]
    NotDownloaded(String),
    #[error("the package {0} is not among those that apt found")]
    NotFound(String),
    #[error(
        "the tests ask for further Debian packages after {0} rounds: fetch them by name, or look for a circle in the table of packages"
    )]
    NoEnd(usize),
    #[error(
        "no Debian packages for NixOS machines are set up: run `snowglobe guest fetch --for FILE` with the options of this command"
    )]
    NoPackages,
    #[error(
        "the test needs Debian packages that are not fetched: {0}; run `snowglobe guest fetch --for FILE` with the options of this command"
    )]
    NotFetched(String),
    #[error("neither XDG_DATA_HOME nor HOME is set: there is no place for the guests' index")]
    NoHome,
}

impl Error {
    pub(super) fn file(path: &Path, source: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn temporary(source: io::Error) -> Self {
        Self::file(&std::env::temp_dir(), source)
    }
}

/// The standard output of a program that must succeed.
pub(super) fn output(command: &mut Command) -> Result<String, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let result = command.output().map_err(|source| Error::Missing {
        program: program.clone(),
        source,
    })?;
    if !result.status.success() {
        // A subcommand is a plain word; options and what they take are not.
        let subcommand = command
            .get_args()
            .map(|argument| argument.to_string_lossy())
            .find(|argument| argument.chars().all(|c| c.is_ascii_lowercase()))
            .map(|argument| format!(" {argument}"))
            .unwrap_or_default();
        return Err(Error::Failed {
            command: format!("{program}{subcommand}"),
            message: first_lines(String::from_utf8_lossy(&result.stderr).trim()),
        });
    }
    Ok(String::from_utf8_lossy(&result.stdout).into_owned())
}

/// apt has a line for each of hundreds of packages.
fn first_lines(text: &str) -> String {
    const MOST: usize = 5;
    let mut lines = text.lines();
    let shown: Vec<&str> = lines.by_ref().take(MOST).collect();
    let more = lines.count();
    let end = if more > 0 {
        format!("\n… and {more} more lines")
    } else {
        String::new()
    };
    shown.join("\n") + &end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_program_is_named_with_its_subcommand_and_first_lines() {
        let script = "seq 7 >&2; exit 3";
        let error = output(Command::new("sh").args(["-c", script, "-o", "A=b", "download", "x"]));
        assert_eq!(
            error.unwrap_err().to_string(),
            "`sh download` failed:\n1\n2\n3\n4\n5\n… and 2 more lines"
        );
    }
}
