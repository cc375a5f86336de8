//! The process of one boot of a container: makes its namespaces, starts its init and waits for its end.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use nix::mount::MsFlags;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use nix::unistd::{getppid, sethostname};

use super::INIT;
use super::boot::{BootPlan, EXCHANGE, PTS, SHARED, STORE, STORE_PLACE, bind_place};
use super::cards::create_cards;
use super::driver_side::DriverSide;
use super::error::{AtStep, ContainerError};
use super::mounts::{
    attach, become_root, detached, detached_for, die_with_parent, fresh, make_private,
};
use super::plan::Plan;
use super::terminals::{Device, Terminals};
use crate::child;
use crate::model::manifest::RootLife;
use crate::passed_files::send_files;

/// How the guest has ended a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootEnd {
    PoweredOff,
    Restarted,
}

impl BootEnd {
    /// The exit code of the process.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::PoweredOff => 0,
            Self::Restarted => 75,
        }
    }
}

/// What is of the host, and has to be opened before this process is a container's.
struct HostParts {
    /// For each card, what its network serves.
    cards: Vec<OwnedFd>,
    /// The sockets of their networks.
    networks: Vec<Option<UnixStream>>,
    store: OwnedFd,
    shared: OwnedFd,
    exchange: OwnedFd,
    /// What the node shows of the host.
    binds: Vec<OwnedFd>,
}

/// Boots the machine once. The standard input is the socket of the process that stands for it, which passes what
/// leads to the driver, and the plan.
///
/// # Errors
/// When the container cannot be made, or its init ends otherwise than by powering off or restarting.
pub fn boot_machine() -> Result<BootEnd, ContainerError> {
    let driver = DriverSide::receive(io::stdin()).at_step("receiving the driver's sockets")?;
    let mut text = Vec::new();
    io::stdin()
        .read_to_end(&mut text)
        .at_step("reading the plan")?;
    let plan: Plan = serde_json::from_slice(&text).at_step("reading the plan")?;
    let parent = getppid();
    let parts = enter_namespace(&plan)?;
    die_with_parent(parent)?;

    let kinds = CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWCGROUP
        | CloneFlags::CLONE_NEWNS;
    unshare(kinds).at_step("making namespaces")?;
    make_private()?;
    sethostname(&plan.node.host_name).at_step("setting the host name")?;
    plug_in(&plan, &parts)?;
    lay_out_folder(&plan, &parts)?;
    let terminals = Terminals::open(Path::new(PTS))?;
    let devices = terminals.devices.clone();
    let console = terminals.serve(driver)?;
    let name = plan.name.clone();
    let status = run_init(plan, devices);
    console.finish();
    let status = status?;
    // How the kernel says what reboot(2) was called for in a container.
    match status.signal().map(Signal::try_from) {
        Some(Ok(Signal::SIGINT)) => Ok(BootEnd::PoweredOff),
        Some(Ok(Signal::SIGHUP)) => Ok(BootEnd::Restarted),
        _ => {
            let error = io::Error::other(status.to_string());
            Err(error).at_step(format!("{name}: its init has ended"))
        }
    }
}

/// Opens what is the host's, and enters the namespace of the run.
fn enter_namespace(plan: &Plan) -> Result<HostParts, ContainerError> {
    let keeper = PathBuf::from(format!("/proc/{}/ns", plan.keeper));
    let open = |name| File::open(keeper.join(name)).at_step("opening the run's namespace");
    let (users, mounts) = (open("user")?, open("mnt")?);
    let networks = plan.networks.iter();
    let networks = networks.map(|socket| socket.as_ref().map(connect).transpose());
    let networks = networks.collect::<Result<_, _>>()?;
    let own = std::process::id().to_string();
    fs::write(plan.cgroup.join("cgroup.procs"), own).at_step("entering the control group")?;
    let mapped_store = detached_for(Path::new(STORE), &users);
    let what = "entering the run's namespace";
    setns(users, CloneFlags::CLONE_NEWUSER).at_step(what)?;
    setns(mounts, CloneFlags::CLONE_NEWNS).at_step(what)?;
    let cards = create_cards(&plan.node.cards)?;
    // Otherwise its files belong to no user of the guest.
    let store = mapped_store.or_else(|_| detached(Path::new(STORE)))?;
    let (shared, exchange) = (detached(&plan.shared)?, detached(&plan.exchange)?);
    let binds = plan.node.binds.iter().map(|bind| detached(&bind.source));
    let binds = binds.collect::<Result<_, _>>()?;
    std::env::set_current_dir(&plan.trees).at_step("entering the folder of trees")?;
    become_root()?;
    Ok(HostParts {
        cards,
        networks,
        store,
        shared,
        exchange,
        binds,
    })
}

fn connect(socket: &PathBuf) -> Result<UnixStream, ContainerError> {
    UnixStream::connect(socket).at_step(format!("connecting {}", socket.display()))
}

/// Passes the cards to their networks: they are plugged in as long as both are open here.
fn plug_in(plan: &Plan, parts: &HostParts) -> Result<(), ContainerError> {
    let cards = plan.node.cards.iter().zip(&parts.cards);
    for ((card, end), network) in cards.zip(&parts.networks) {
        if let Some(network) = network {
            send_files(network, &plan.name, &[end.as_fd()])
                .at_step(format!("plugging in {}", card.name))?;
        }
    }
    Ok(())
}

/// Mounts the machine's folder, which is then the working one, and in it what init shows to the guest.
fn lay_out_folder(plan: &Plan, parts: &HostParts) -> Result<(), ContainerError> {
    let place = PathBuf::from("machines").join(&plan.name);
    match plan.node.root_life {
        RootLife::Boot => {
            let options = format!("mode=755,size={}m", plan.node.size_mib);
            fresh("tmpfs", &place, MsFlags::empty(), &options)?;
        }
        // The keeper's own file system is there for the whole run.
        RootLife::Run => fs::create_dir_all(&place).at_step("making the machine's folder")?,
    }
    std::env::set_current_dir(&place).at_step("entering the machine's folder")?;
    attach(&parts.store, Path::new(STORE_PLACE))?;
    attach(&parts.shared, Path::new(SHARED))?;
    attach(&parts.exchange, Path::new(EXCHANGE))?;
    for (number, mount) in parts.binds.iter().enumerate() {
        attach(mount, &bind_place(number))?;
    }
    let options = "newinstance,ptmxmode=0666,mode=620,gid=5";
    fresh("devpts", Path::new(PTS), MsFlags::MS_NOSUID, options)
}

/// Starts the guest's init as the first process of its namespace, and waits for its end.
fn run_init(machine: Plan, devices: Vec<Device>) -> Result<ExitStatus, ContainerError> {
    let boot = BootPlan { machine, devices };
    // From here on this thread can start no others.
    unshare(CloneFlags::CLONE_NEWPID).at_step("making a namespace of processes")?;
    // This program's own file may be in a folder that the guests' root cannot enter.
    let mut command = Command::new("/proc/self/exe");
    command.arg(INIT).stdin(Stdio::piped());
    child::die_with_parent(&mut command, Signal::SIGKILL);
    let mut init = command.spawn().at_step("starting init")?;
    let text = serde_json::to_vec(&boot).at_step("starting init")?;
    let mut stdin = init.stdin.take();
    if let Some(stdin) = &mut stdin {
        stdin.write_all(&text).at_step("starting init")?;
    }
    drop(stdin);
    init.wait().at_step("waiting for init")
}
