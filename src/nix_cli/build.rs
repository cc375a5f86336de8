//! Builds a test's derivation, and emits events for each build.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::Nix;
use super::log::Log;
use crate::child;
use crate::model::event::Event;

/// Why a build gave nothing.
#[derive(Debug, Error)]
pub enum BuildError {
    #[error("`nix-store` cannot be started: {0}; install Nix (Debian's package is nix-bin)")]
    NoNix(io::Error),
    #[error("{0}")]
    Failed(String),
    #[error(
        "{0}; containers need it in a build: `snowglobe doctor` says which settings of Nix give it"
    )]
    NoUserIds(String),
}

impl BuildError {
    /// Returns the error of a build that has failed for a reason.
    fn from_reason(reason: String) -> Self {
        if reason.contains("uid-range") {
            Self::NoUserIds(reason)
        } else {
            Self::Failed(reason)
        }
    }
}

/// How long Nix may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(2);
const STOP_PAUSE: Duration = Duration::from_millis(5);

/// Asks Nix to stop, which ends its builders; killed, it could not. Nix writes no more then: it would make links in an
/// output folder that another run may have.
struct StopOnDrop(Option<u32>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        let Some(pid) = self.0.and_then(|pid| i32::try_from(pid).ok()) else {
            return;
        };
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let begin = Instant::now();
        while child::is_running(pid) && begin.elapsed() < STOP_LIMIT {
            std::thread::sleep(STOP_PAUSE);
        }
    }
}

/// Builds `derivation`. `root` becomes an indirect root: as long as it is
/// there, Nix's garbage collector spares the result.
///
/// # Errors
/// Returns an error if Nix cannot be started or a build fails.
pub async fn realise(
    nix: &Nix,
    derivation: &Path,
    root: &Path,
    tell: &(dyn Fn(Event) + Sync),
) -> Result<(), BuildError> {
    let mut command = nix.command("nix-store");
    command
        .arg("--realise")
        .arg(derivation)
        .arg("--add-root")
        .arg(root)
        .arg("--indirect");
    match build(command, tell).await? {
        None => Ok(()),
        Some(log) => Err(BuildError::from_reason(log.failure())),
    }
}

/// Builds of which some have failed.
#[derive(Debug)]
pub struct FailedBuilds(Log);

impl FailedBuilds {
    /// Returns the errors of builds that something `needs`, by their derivations; `None` if none is known.
    pub fn of(&self, needs: impl Fn(&str) -> bool) -> Option<BuildError> {
        let reason = self.0.failure_of(needs);
        (!reason.is_empty()).then(|| BuildError::from_reason(reason))
    }
}

/// Builds derivations, as many at a time as Nix' settings allow; one that fails does not end the others. Nothing is
/// kept from Nix' garbage collector. Returns what has failed.
///
/// # Errors
/// Returns an error if Nix cannot be started.
pub async fn realise_all(
    nix: &Nix,
    derivations: &[PathBuf],
    tell: &(dyn Fn(Event) + Sync),
) -> Result<Option<FailedBuilds>, BuildError> {
    let mut command = nix.command("nix-store");
    command
        .args(["--keep-going", "--realise"])
        .args(derivations);
    Ok(build(command, tell).await?.map(FailedBuilds))
}

/// Runs a command that builds, and emits what its log says; returns the log if it fails.
async fn build(
    mut command: process::Command,
    tell: &(dyn Fn(Event) + Sync),
) -> Result<Option<Log>, BuildError> {
    child::die_with_parent(&mut command, Signal::SIGTERM);
    let mut child = Command::from(command)
        .args(["--log-format", "internal-json"])
        .stdin(Stdio::null())
        // The paths of what was built: they are known.
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(BuildError::NoNix)?;
    // A caller that stops waiting stops the builds.
    let stop = StopOnDrop(child.id());
    let stderr = child.stderr.take().expect("the pipe was asked for");

    let mut log = Log::default();
    let mut lines = BufReader::new(stderr).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        if let Some(event) = log.line(&String::from_utf8_lossy(&line)) {
            tell(event);
        }
    }
    let status = child.wait().await.map_err(BuildError::NoNix)?;
    std::mem::forget(stop);
    Ok((!status.success()).then_some(log))
}
