//! Saving a machine as it runs, and starting one as it was saved.
//!
//! The folders of the host that Snowglobe gives a guest are unmounted for that,
//! as QEMU saves no guest that has one mounted over 9p; what needs them mounts
//! them again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::error::at;
use super::life_cycle::{InitialState, Start};
use super::shell::{EXCHANGE, SHARED};
use super::{Machine, MachineError};
use crate::agent::{CLOCK, Expect, GuestProgram, GuestSide, SHARED_FOLDERS};
use crate::backend::EXCHANGE_FOLDER;
use crate::folders::create_private;
use crate::model::event::{Event, round};

/// How long a guest may take to answer before and after it is saved.
const PATIENCE: Duration = Duration::from_secs(10);

/// Names in a machine's folder of what was saved.
const MEMORY: &str = "memory";
const DISKS: &str = "disks";
const CONSOLE: &str = "console";

/// Exit statuses of a guest: its shared folder is unmounted; other folders of the host are still mounted (see
/// agent/shared-folders.sh).
const UNMOUNTED: i32 = 10;
const STILL_MOUNTED: i32 = 11;

/// The state of a saved machine beside its memory and disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// None if the machine was off.
    running: Option<SavedRun>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedRun {
    start: Start,
    replies_port: Option<String>,
    shares_folder: bool,
}

impl Saved {
    /// How the machine was started; None if it was off.
    #[must_use]
    pub fn start(&self) -> Option<&Start> {
        self.running.as_ref().map(|run| &run.start)
    }
}

/// The console that a loaded machine continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleHistory {
    /// The one that was saved with the machine, by an earlier run.
    Saved,
    /// The one of this run, which has seen more than was saved.
    OfThisRun,
}

/// Whether a restored guest's clock is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    FromHost,
    AsSaved,
}

/// A machine whose guest is ready to be saved.
#[derive(Debug)]
pub struct QuietMachine {
    machine: Arc<Machine>,
    /// Whether folders of the host were mounted; None if the machine is off.
    shares_folder: Option<bool>,
}

impl Machine {
    /// Makes the guest ready to be saved: unmounts the folders of the host.
    ///
    /// # Errors
    /// Returns an error that names what is mounted over 9p and in use.
    pub async fn quiesce(self: &Arc<Self>) -> Result<QuietMachine, MachineError> {
        let machine = self.clone();
        if !self.life.is_up() {
            return Ok(QuietMachine {
                machine,
                shares_folder: None,
            });
        }
        let status = self.run_in_shell(unmount_folders()).await?;
        let quiet = QuietMachine {
            machine,
            shares_folder: Some(status == UNMOUNTED),
        };
        if status != STILL_MOUNTED {
            return Ok(quiet);
        }
        let list = SHARED_FOLDERS.call::<&str>("list_shared", []);
        let mounted = self
            .shell
            .execute_program(&list, Expect::Output, None)
            .await?;
        let mounted = String::from_utf8_lossy(&mounted.output).into_owned();
        Err(self.life.unable(format!(
            "cannot be saved: it has {} mounted over 9p",
            mounted.split_whitespace().collect::<Vec<_>>().join(", ")
        )))
    }

    /// Runs a program of Snowglobe in the guest's shell itself, which costs less than a process for it; returns its
    /// status.
    async fn run_in_shell(self: &Arc<Self>, work: GuestProgram) -> Result<i32, MachineError> {
        self.shell.connect().await?;
        let running = self.life.running()?;
        let shell = self.shell.channel(&running).await?;
        let work = work.map_line(|line| format!("work() {{ {line}; echo $? > $2; }}; work"));
        let outcome = self
            .life
            .guard(&running, async {
                Ok(shell
                    .run(&work.text(), Expect::Answer, Some(PATIENCE))
                    .await?)
            })
            .await?;
        Ok(outcome.status.unwrap_or_default())
    }

    async fn must_run_in_shell(
        self: &Arc<Self>,
        work: Vec<GuestProgram>,
    ) -> Result<(), MachineError> {
        let work = GuestProgram::join(work, "; ");
        let shown = work.line().to_owned();
        match self.run_in_shell(work).await? {
            0 => Ok(()),
            status => Err(self.life.unable(format!(
                "cannot go on after it was saved: `{shown}` fails (exit code {status})"
            ))),
        }
    }

    /// Commands that mount the folders which the script itself may look for.
    fn mounts_that_are_seen(&self) -> Vec<GuestProgram> {
        let script = &self.life.context.script;
        let is_seen = |words: &[&str]| words.iter().any(|word| script.contains(word));
        [
            (SHARED, &[SHARED.mount_point, "shared_dir"][..]),
            (EXCHANGE, &[EXCHANGE.mount_point][..]),
        ]
        .into_iter()
        .filter(|(_, words)| is_seen(words))
        .map(|(folder, _)| folder.mount())
        .collect()
    }

    /// Starts the machine as it was saved in `folder`, and leaves it paused.
    ///
    /// # Errors
    /// Returns an error if a file is missing, or QEMU does not take what is saved.
    pub async fn load(
        self: &Arc<Self>,
        saved: &Saved,
        folder: &Path,
        console: ConsoleHistory,
    ) -> Result<(), MachineError> {
        if console == ConsoleHistory::Saved {
            self.life
                .console()
                .recall(&folder.join(CONSOLE), &self.life.console_log())
                .await
                .map_err(|source| at(&self.life.console_log(), source))?;
        }
        let disks = folder.join(DISKS);
        remove_files(&self.life.context.state_folder, &disks)
            .and_then(|()| copy_files(&disks, &self.life.context.state_folder))
            .map_err(|source| at(&disks, source))?;
        let Some(run) = &saved.running else {
            return Ok(());
        };
        let initial = InitialState::Saved(GuestSide::Saved {
            replies_port: run.replies_port.clone(),
        });
        self.life.begin(run.start.clone(), initial).await?;
        let running = self.life.running()?;
        let monitor = self.monitor.qmp(&running).await?;
        self.life
            .guard(&running, async {
                Ok(monitor.load(&folder.join(MEMORY)).await?)
            })
            .await
    }

    /// Stops the guest's processors.
    ///
    /// # Errors
    /// Returns an error if the machine is off, or QEMU is gone.
    pub(super) async fn pause(&self) -> Result<(), MachineError> {
        let running = self.life.running()?;
        let monitor = self.monitor.qmp(&running).await?;
        self.life
            .guard(&running, async { Ok(monitor.pause().await?) })
            .await
    }

    /// Resumes a machine that was loaded.
    ///
    /// # Errors
    /// Returns an error if QEMU does not resume it.
    pub async fn resume(&self) -> Result<(), MachineError> {
        if !self.life.is_up() {
            return Ok(());
        }
        let running = self.life.running()?;
        let monitor = self.monitor.qmp(&running).await?;
        self.life
            .guard(&running, async { Ok(monitor.resume().await?) })
            .await
    }

    /// Waits for the shell of a guest that was resumed, mounts the folders of the host again, and sets the clock.
    ///
    /// # Errors
    /// Returns an error if the guest does not answer.
    pub async fn resume_shell(
        self: &Arc<Self>,
        saved: &Saved,
        clock: Clock,
    ) -> Result<(), MachineError> {
        let Some(run) = &saved.running else {
            return Ok(());
        };
        let running = self.life.running()?;
        let shell = self.shell.channel(&running).await?;
        self.life
            .guard(&running, async {
                Ok(shell.wait_until_silent(PATIENCE).await?)
            })
            .await?;
        running.set_connected().await;
        let mut commands = Vec::new();
        if clock == Clock::FromHost {
            commands.push(set_clock());
        }
        if run.shares_folder {
            commands.extend(self.mounts_that_are_seen());
        }
        if !commands.is_empty() {
            self.must_run_in_shell(commands).await?;
        }
        self.life.context.events.emit(Event::MachineReady {
            machine: self.name().to_owned(),
            after_s: round(running.age().as_secs_f64()),
        });
        Ok(())
    }
}

impl QuietMachine {
    /// Stops the guest's processors.
    ///
    /// # Errors
    /// Returns an error if QEMU is gone.
    pub async fn pause(&self) -> Result<(), MachineError> {
        if self.shares_folder.is_none() {
            return Ok(());
        }
        self.machine.pause().await
    }

    /// Writes a paused machine to `folder`, which is made.
    ///
    /// # Errors
    /// Returns an error if there is no room, or QEMU cannot save a device.
    pub async fn save(&self, folder: &Path) -> Result<Saved, MachineError> {
        let machine = &self.machine;
        let disks = folder.join(DISKS);
        copy_files(&machine.life.context.state_folder, &disks)
            .map_err(|source| at(&disks, source))?;
        copy_console(&machine.life.console_log(), &folder.join(CONSOLE))?;
        let Some(shares_folder) = self.shares_folder else {
            return Ok(Saved { running: None });
        };
        let running = machine.life.running()?;
        let monitor = machine.monitor.qmp(&running).await?;
        let replies_port = machine.shell.channel(&running).await?.replies_port();
        machine
            .life
            .guard(&running, async {
                Ok(monitor.save(&folder.join(MEMORY)).await?)
            })
            .await?;
        Ok(Saved {
            running: Some(SavedRun {
                start: running.start().clone(),
                replies_port,
                shares_folder,
            }),
        })
    }

    /// Resumes the guest.
    ///
    /// # Errors
    /// Returns an error if QEMU does not resume it.
    pub async fn resume(&self) -> Result<(), MachineError> {
        self.machine.resume().await
    }

    /// Mounts the folders of the host again.
    ///
    /// # Errors
    /// Returns an error if the guest does not answer.
    pub async fn restore_mounts(&self) -> Result<(), MachineError> {
        let mounts = self.machine.mounts_that_are_seen();
        if self.shares_folder == Some(true) && !mounts.is_empty() {
            self.machine.must_run_in_shell(mounts).await?;
        }
        Ok(())
    }
}

/// A machine that was never started has none.
fn copy_console(from: &Path, to: &Path) -> Result<(), MachineError> {
    match fs::copy(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(to, error)),
        _ => Ok(()),
    }
}

/// Unmounts the folders that Snowglobe gives a guest, and looks for others.
fn unmount_folders() -> GuestProgram {
    let folders = [SHARED.mount_point, EXCHANGE.mount_point];
    SHARED_FOLDERS.call("unmount_shared", folders)
}

fn set_clock() -> GuestProgram {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let (seconds, milliseconds) = (now.as_secs().to_string(), now.subsec_millis());
    CLOCK.call("set_clock", [seconds, format!("{milliseconds:03}")])
}

/// Copies the files below a machine's folder into another, which is made: not
/// its sockets, and nothing that the guest can change.
fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    create_private(to)?;
    let exchange = from.join(EXCHANGE_FOLDER);
    let entries = WalkDir::new(from).into_iter();
    for entry in entries.filter_entry(|entry| entry.path() != exchange) {
        let entry = entry.map_err(io::Error::from)?;
        let relative: PathBuf = entry
            .path()
            .strip_prefix(from)
            .unwrap_or(entry.path())
            .into();
        if entry.file_type().is_dir() {
            create_private(&to.join(relative))?;
        } else if entry.file_type().is_file() {
            fs::copy(entry.path(), to.join(relative))?;
        }
    }
    Ok(())
}

/// Removes the files below a machine's folder that were not saved: a machine that is rewound has none of them.
fn remove_files(folder: &Path, saved: &Path) -> io::Result<()> {
    let exchange = folder.join(EXCHANGE_FOLDER);
    let entries = WalkDir::new(folder).into_iter();
    for entry in entries.filter_entry(|entry| entry.path() != exchange) {
        let entry = entry.map_err(io::Error::from)?;
        let relative = entry.path().strip_prefix(folder).unwrap_or(entry.path());
        if entry.file_type().is_file() && !saved.join(relative).exists() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_copied_and_sockets_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("below")).unwrap();
        fs::write(from.join("below/disk"), "bytes").unwrap();
        fs::create_dir(from.join(EXCHANGE_FOLDER)).unwrap();
        fs::write(from.join(EXCHANGE_FOLDER).join("guest"), "bytes").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(from.join("qmp")).unwrap();
        copy_files(&from, &to).unwrap();
        assert_eq!(fs::read(to.join("below/disk")).unwrap(), b"bytes");
        assert!(!to.join("qmp").exists() && !to.join(EXCHANGE_FOLDER).exists());
    }
}
