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

use super::files::{EXCHANGE, SHARED, at};
use super::launch::{InitialState, Start};
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

/// What a guest says that has let its shared folder go, and one that has other
/// folders of the host (see agent/shared-folders.sh).
const UNMOUNTED: i32 = 10;
const STILL_MOUNTED: i32 = 11;

/// What is known of a saved machine beside its memory and disks.
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

/// Whether a restored guest's clock is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    FromHost,
    AsSaved,
}

/// A machine whose guest is ready to be saved.
#[derive(Debug)]
pub struct Resting {
    machine: Arc<Machine>,
    /// Whether folders of the host were mounted; None if the machine is off.
    shares_folder: Option<bool>,
}

impl Machine {
    /// Has the guest let go of what cannot be saved.
    ///
    /// # Errors
    /// When something in it is mounted over 9p and in use, which is named.
    pub async fn rest(self: &Arc<Self>) -> Result<Resting, MachineError> {
        let machine = self.clone();
        if !self.is_up() {
            return Ok(Resting {
                machine,
                shares_folder: None,
            });
        }
        let status = self.tend(let_go()).await?;
        let resting = Resting {
            machine,
            shares_folder: Some(status == UNMOUNTED),
        };
        if status != STILL_MOUNTED {
            return Ok(resting);
        }
        let list = SHARED_FOLDERS.call::<&str>("list_shared", []);
        let mounted = self.execute_program(&list, Expect::Output, None).await?;
        let mounted = String::from_utf8_lossy(&mounted.output).into_owned();
        Err(self.unable(format!(
            "cannot be saved: it has {} mounted over 9p",
            mounted.split_whitespace().collect::<Vec<_>>().join(", ")
        )))
    }

    /// Has the guest's own shell do something that is not the script's, which
    /// costs less than a process for it; returns its status.
    async fn tend(self: &Arc<Self>, work: GuestProgram) -> Result<i32, MachineError> {
        self.connect().await?;
        let running = self.running()?;
        let shell = self.shell(&running).await?;
        let tend = work.map_line(|line| format!("tend() {{ {line}; echo $? > $2; }}; tend"));
        let outcome = self
            .guard(&running, async {
                Ok(shell
                    .run(&tend.text(), Expect::Answer, Some(PATIENCE))
                    .await?)
            })
            .await?;
        Ok(outcome.status.unwrap_or_default())
    }

    async fn tend_well(self: &Arc<Self>, work: Vec<GuestProgram>) -> Result<(), MachineError> {
        let work = GuestProgram::join(work, "; ");
        let shown = work.line().to_owned();
        match self.tend(work).await? {
            0 => Ok(()),
            status => Err(self.unable(format!(
                "cannot go on after it was saved: `{shown}` fails (exit code {status})"
            ))),
        }
    }

    /// Commands that mount the folders which the script itself may look for.
    fn mounts_that_are_seen(&self) -> Vec<GuestProgram> {
        let script = &self.context.script;
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
    /// When a file is missing, or QEMU does not take what is saved.
    pub async fn load(self: &Arc<Self>, saved: &Saved, folder: &Path) -> Result<(), MachineError> {
        self.console
            .recall(&folder.join(CONSOLE), &self.console_log())
            .await
            .map_err(|source| at(&self.console_log(), source))?;
        let disks = folder.join(DISKS);
        copy_files(&disks, &self.context.state_folder).map_err(|source| at(&disks, source))?;
        let Some(run) = &saved.running else {
            return Ok(());
        };
        let initial = InitialState::Saved(GuestSide::Saved {
            replies_port: run.replies_port.clone(),
        });
        self.begin(run.start.clone(), initial).await?;
        let running = self.running()?;
        let monitor = self.monitor(&running).await?;
        self.guard(&running, async {
            Ok(monitor.load(&folder.join(MEMORY)).await?)
        })
        .await
    }

    /// Lets a machine that was loaded go on.
    ///
    /// # Errors
    /// When it does not.
    pub async fn go_on(&self) -> Result<(), MachineError> {
        if !self.is_up() {
            return Ok(());
        }
        let running = self.running()?;
        let monitor = self.monitor(&running).await?;
        self.guard(&running, async { Ok(monitor.resume().await?) })
            .await
    }

    /// Finds the shell of a guest that goes on, and makes it see the present.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub async fn greet(self: &Arc<Self>, saved: &Saved, clock: Clock) -> Result<(), MachineError> {
        let Some(run) = &saved.running else {
            return Ok(());
        };
        let running = self.running()?;
        let shell = self.shell(&running).await?;
        self.guard(&running, async { Ok(shell.rest(PATIENCE).await?) })
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
            self.tend_well(commands).await?;
        }
        self.context.events.emit(Event::MachineReady {
            machine: self.name().to_owned(),
            after_s: round(running.age().as_secs_f64()),
        });
        Ok(())
    }
}

impl Resting {
    /// Stops the guest's processors.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub async fn pause(&self) -> Result<(), MachineError> {
        if self.shares_folder.is_none() {
            return Ok(());
        }
        let running = self.machine.running()?;
        let monitor = self.machine.monitor(&running).await?;
        self.machine
            .guard(&running, async { Ok(monitor.pause().await?) })
            .await
    }

    /// Writes a paused machine to `folder`, which is made.
    ///
    /// # Errors
    /// When there is no room, or QEMU cannot save a device.
    pub async fn save(&self, folder: &Path) -> Result<Saved, MachineError> {
        let machine = &self.machine;
        let disks = folder.join(DISKS);
        copy_files(&machine.context.state_folder, &disks).map_err(|source| at(&disks, source))?;
        copy_console(&machine.console_log(), &folder.join(CONSOLE))?;
        let Some(shares_folder) = self.shares_folder else {
            return Ok(Saved { running: None });
        };
        let running = machine.running()?;
        let monitor = machine.monitor(&running).await?;
        let replies_port = machine.shell(&running).await?.replies_port();
        machine
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

    /// Lets the guest go on as before.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn resume(&self) -> Result<(), MachineError> {
        self.machine.go_on().await
    }

    /// Gives the guest back what it had let go of.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn wake(&self) -> Result<(), MachineError> {
        let mounts = self.machine.mounts_that_are_seen();
        if self.shares_folder == Some(true) && !mounts.is_empty() {
            self.machine.tend_well(mounts).await?;
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
fn let_go() -> GuestProgram {
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
