//! The process that stands for one container: starts a process for each boot, and ends with the last one.

use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use nix::sys::signal::Signal;

use super::driver_side::DriverSide;
use super::error::{AtStep, ContainerError};
use super::limits::LimitWatch;
use super::plan::Plan;
use super::{BOOT, BootEnd};
use crate::backend::OnReboot;
use crate::child;
use crate::output_folder::write_whole;

/// The file in the machine's folder that has the process ID of its present boot.
pub(super) const BOOT_FILE: &str = "boot.pid";

/// Runs the machine of a plan, which is in a file, to its end. The standard input and output are its serial console.
/// The process then ends as QEMU would: well if the guest has powered off.
///
/// # Errors
/// Returns an error if the container cannot be made.
pub fn run_machine(file: &Path) -> Result<(), ContainerError> {
    let text = fs::read(file).map_err(|source| ContainerError::File {
        path: file.to_owned(),
        source,
    })?;
    let plan: Plan = serde_json::from_slice(&text).at_step("reading the plan")?;
    let driver = DriverSide::connect(&plan.folder)?;
    loop {
        let watch = LimitWatch::start(&plan, io::stdout());
        let status = boot(&text, &plan, &driver)?;
        // Its last look comes before the end of this process, which the driver waits for.
        drop(watch);
        let is = |end: BootEnd| status.code() == Some(end.code().into());
        if is(BootEnd::PoweredOff) || is(BootEnd::Restarted) && plan.on_reboot == OnReboot::End {
            return Ok(());
        }
        if !is(BootEnd::Restarted) {
            let error = io::Error::other(status.to_string());
            return Err(error).at_step("the boot has failed");
        }
    }
}

/// Runs a process for one boot to its end.
fn boot(text: &[u8], plan: &Plan, driver: &DriverSide) -> Result<ExitStatus, ContainerError> {
    let what = "starting this program again";
    let (mut ours, theirs) = UnixStream::pair().at_step(what)?;
    let mut command = Command::new(child::THIS_PROGRAM);
    command.arg(BOOT).stdin(Stdio::from(OwnedFd::from(theirs)));
    child::die_with_parent(&mut command, Signal::SIGKILL);
    let mut child = command.spawn().at_step(what)?;
    drop(command);
    let sent = driver.pass(&ours).and_then(|()| ours.write_all(text));
    sent.at_step(what)?;
    drop(ours);
    write_whole(&plan.folder, BOOT_FILE, child.id().to_string().as_bytes())
        .at_step(format!("writing {BOOT_FILE}"))?;
    child.wait().at_step("waiting for the guest")
}
