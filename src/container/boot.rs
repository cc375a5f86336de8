//! The guest's init: the program that the first process of a guest becomes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::sethostname;

use super::error::{AtStep, ContainerError};
use super::inherited::reset_process;
use super::plan::Plan;
use super::root::CREDENTIALS;

/// The kernel's own, for a machine that has no NIS domain.
const NO_DOMAIN: &str = "(none)";

/// Becomes the guest's init, in the root that is laid out. Returns only if that fails.
///
/// # Errors
/// Returns the step that has failed, or that there is no such program.
pub(super) fn become_init(plan: &Plan) -> Result<(), ContainerError> {
    std::env::set_current_dir("/").at_step("entering the root")?;
    // From here on the mounts are locked: the namespace that they are from belongs to another user namespace.
    unshare(CloneFlags::CLONE_NEWNS).at_step("making a mount namespace")?;
    let node = &plan.node;
    sethostname(&node.host_name).at_step("setting the host name")?;
    set_domain_name().at_step("setting the domain name")?;
    if let Some(program) = &node.activation {
        prepare_root(program)?;
    }
    let (program, arguments) = node
        .init
        .split_first()
        .ok_or_else(|| io::Error::other("it has no name"))
        .at_step("starting the guest's init")?;
    reset_process()?;
    let failed = Command::new(program)
        .args(arguments)
        .env_clear()
        // How systemd and others find out.
        .env("container", "snowglobe")
        .envs((!node.credentials.is_empty()).then_some(("CREDENTIALS_DIRECTORY", CREDENTIALS)))
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(console()?)
        .stdout(console()?)
        .stderr(console()?)
        .exec();
    Err(failed).at_step(format!("starting {program}"))
}

#[allow(unsafe_code)]
fn set_domain_name() -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as it is given.
    let set = unsafe { libc::setdomainname(NO_DOMAIN.as_ptr().cast(), NO_DOMAIN.len()) };
    if set == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Opens the guest's console, which does not become the terminal of this process: init has none.
fn console() -> Result<File, ContainerError> {
    let mut options = fs::OpenOptions::new();
    let options = options.read(true).write(true).custom_flags(libc::O_NOCTTY);
    options.open("/dev/console").at_step("opening the console")
}

/// Runs the program that prepares the root, in the guest.
fn prepare_root(program: &Path) -> Result<(), ContainerError> {
    let output = Command::new(program)
        .arg("/")
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .at_step("preparing the root")?;
    if output.status.success() {
        return Ok(());
    }
    Err(ContainerError::Program {
        program: program.display().to_string(),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
