//! The terminals of a container: its serial console, and the lines of its shell.
//!
//! Each is a pseudo-terminal of the guest's own devpts, shown to the guest under the names that QEMU's devices have.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::pty::{ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use serde::{Deserialize, Serialize};

use super::driver_side::DriverSide;
use super::error::{AtStep, ContainerError};
use crate::agent::{GUARD_PORT, REPLIES_PORT, TERMINAL_DEVICE};

/// Where a terminal is in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Device {
    /// In the guest's devpts.
    pub number: String,
    /// Below the guest's /dev.
    pub name: String,
}

/// The open terminals of a guest.
#[derive(Debug)]
pub(super) struct Terminals {
    pub devices: Vec<Device>,
    console: Pair,
    others: [Pair; 4],
}

/// The two ends of one. The guest's is held open, or its settings would be lost when no process of the guest has it open.
#[derive(Debug)]
pub(super) struct Pair {
    pub ours: File,
    pub guests: OwnedFd,
}

/// How a terminal treats what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// As it is.
    Raw,
    /// With echo and line ends, as a terminal of people.
    Usual,
}

impl Terminals {
    /// Opens them in a devpts that is mounted at a folder.
    ///
    /// # Errors
    /// Returns an error if there are no more terminals.
    pub fn open(devpts: &Path) -> Result<Self, ContainerError> {
        let mut devices = Vec::new();
        let mut open = |name: &str, treatment| {
            let (pair, number) = open_pair(devpts, treatment)?;
            let name = name.to_owned();
            devices.push(Device { number, name });
            Ok::<_, ContainerError>(pair)
        };
        let console = open("ttyS0", Treatment::Usual)?;
        let others = [
            open("hvc0", Treatment::Raw)?,
            open(
                TERMINAL_DEVICE.trim_start_matches("/dev/"),
                Treatment::Usual,
            )?,
            open(&format!("virtio-ports/{REPLIES_PORT}"), Treatment::Raw)?,
            open(&format!("virtio-ports/{GUARD_PORT}"), Treatment::Raw)?,
        ];
        devices.push(Device {
            name: "console".to_owned(),
            ..devices[0].clone()
        });
        Ok(Self {
            devices,
            console,
            others,
        })
    }

    /// Passes on what comes, in threads of its own: the console to the standard output, the rest to the driver.
    ///
    /// # Errors
    /// Returns an error if a thread cannot be started.
    pub fn serve(self, driver: DriverSide) -> Result<Console, ContainerError> {
        let [shell, terminal, replies, guard] = self.others;
        for (pair, socket) in [
            (shell, driver.shell),
            (replies, driver.replies),
            (guard, driver.guard),
        ] {
            join(pair, socket).at_step("starting a thread")?;
        }
        thread::spawn(move || serve_people(&terminal, &driver.terminal));

        let Pair { ours, guests } = self.console;
        let typed = ours.try_clone().at_step("opening the console")?;
        thread::spawn(move || pass_on(driver.typed, typed));
        Ok(Console {
            guests,
            reader: thread::spawn(move || pass_on(ours, io::stdout())),
        })
    }
}

/// The serial console, which is read.
#[derive(Debug)]
pub(super) struct Console {
    guests: OwnedFd,
    reader: JoinHandle<()>,
}

impl Console {
    /// Waits until all that the guest has written is passed on. The guest has ended.
    pub fn finish(self) {
        drop(self.guests);
        let _ = self.reader.join();
    }
}

/// Opens one in a devpts; returns its number there, too.
pub(super) fn open_pair(
    devpts: &Path,
    treatment: Treatment,
) -> Result<(Pair, String), ContainerError> {
    let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path);
    let what = "opening a terminal";
    let ours = open(&devpts.join("ptmx")).at_step(what)?;
    unlockpt(&ours).at_step(what)?;
    let name = ptsname(&ours, Vec::new()).at_step(what)?;
    let name = PathBuf::from(name.to_string_lossy().into_owned());
    let number = name.file_name().unwrap_or_default();
    let guests = OwnedFd::from(open(&devpts.join(number)).at_step(what)?);
    if treatment == Treatment::Raw {
        let mut settings = tcgetattr(&guests).at_step(what)?;
        settings.make_raw();
        tcsetattr(&guests, OptionalActions::Now, &settings).at_step(what)?;
    }
    let number = number.to_string_lossy().into_owned();
    Ok((Pair { ours, guests }, number))
}

/// Passes on both ways between a terminal and a socket.
fn join(pair: Pair, socket: UnixStream) -> io::Result<()> {
    let (ours, other) = (pair.ours.try_clone()?, socket.try_clone()?);
    thread::spawn(move || pass_on(socket, ours));
    thread::spawn(move || {
        pass_on(pair.ours, &other);
        // The driver sees the end.
        let _ = other.shutdown(std::net::Shutdown::Both);
        drop(pair.guests);
    });
    Ok(())
}

/// Passes on both ways between a terminal and the person who has connected last. What the guest writes while no one
/// is there is lost, as with QEMU.
fn serve_people(pair: &Pair, listener: &UnixListener) {
    let person: Arc<Mutex<Option<UnixStream>>> = Arc::default();
    let Ok(mut reader) = pair.ours.try_clone() else {
        return;
    };
    let reads = person.clone();
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = reader.read(&mut bytes) {
            let mut person = reads.lock().unwrap_or_else(PoisonError::into_inner);
            let written = person
                .as_mut()
                .map(|socket| socket.write_all(&bytes[..length]));
            if written.is_some_and(|written| written.is_err()) {
                *person = None;
            }
        }
    });
    for socket in listener.incoming().flatten() {
        let (Ok(reads), Ok(to_guest)) = (socket.try_clone(), pair.ours.try_clone()) else {
            return;
        };
        *person.lock().unwrap_or_else(PoisonError::into_inner) = Some(reads);
        pass_on(socket, to_guest);
    }
}

/// Copies until either side ends.
fn pass_on(mut from: impl Read, mut to: impl Write) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if to
            .write_all(&bytes[..length])
            .and_then(|()| to.flush())
            .is_err()
        {
            return;
        }
    }
}
