//! The process of one boot of a container: makes its namespaces, starts its init and waits for its end.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::{getppid, getuid};

use super::boot::become_init;
use super::cards::create_cards;
use super::cgroup::Membership;
use super::driver_side::DriverSide;
use super::error::{AtStep, ContainerError};
use super::guest_process::{GuestProcess, describe};
use super::inherited::leave_session;
use super::keyrings::deny_keyrings;
use super::mounts::{
    become_root, detached, detached_for, die_with_parent, fresh, has_mounts_below, make_private,
    make_read_only,
};
use super::plan::Plan;
use super::root::{HostParts, PTS, STORE, Store, in_memory, lay_out_root};
use super::terminals::Terminals;
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

/// Files of the host that are opened before this process enters the container.
struct Opened {
    /// The sockets of the networks of its cards.
    networks: Vec<Option<UnixStream>>,
    /// Parts of the host that the guest sees, and where.
    store: Store,
    mounts: Vec<(OwnedFd, PathBuf)>,
    groups: Membership,
}

/// Boots the machine once. The standard input is the socket of the process that stands for it, which passes what
/// leads to the driver, and the plan.
///
/// # Errors
/// Returns the step that has failed, or how the guest's init has ended if it did not power off or restart.
pub fn boot_machine() -> Result<BootEnd, ContainerError> {
    let driver = DriverSide::receive(io::stdin()).at_step("receiving the driver's sockets")?;
    let mut text = Vec::new();
    io::stdin()
        .read_to_end(&mut text)
        .at_step("reading the plan")?;
    let plan: Plan = serde_json::from_slice(&text).at_step("reading the plan")?;
    let parent = getppid();
    leave_session()?;
    let is_guests_root = !getuid().is_root();
    let opened = enter_namespace(&plan)?;
    die_with_parent(parent)?;
    if is_guests_root {
        deny_keyrings().at_step("denying keyrings")?;
    }
    unshare(CloneFlags::CLONE_NEWNS).at_step("making a mount namespace")?;
    make_private()?;
    enter_folder(&plan)?;
    let terminals = Terminals::open(Path::new(PTS))?;

    // Before this process has other threads.
    let mut guest = GuestProcess::start(|| become_init(&plan))?;
    opened.groups.leave();
    let network = guest.namespace("net")?;
    setns(&network, CloneFlags::CLONE_NEWNET).at_step("entering the guest's network")?;
    let cards = create_cards(&plan.node.cards, &network)?;
    plug_in(&plan, &cards, &opened.networks)?;
    let parts = HostParts::open(opened.store, opened.mounts, &plan)?;
    lay_out_root(&plan, &terminals.devices, &parts, &guest)?;

    let console = terminals.serve(driver)?;
    guest.release()?;
    let status = guest.wait()?;
    console.finish();
    // How the kernel says what reboot(2) was called for in a container.
    match status {
        WaitStatus::Signaled(_, Signal::SIGINT, _) => Ok(BootEnd::PoweredOff),
        WaitStatus::Signaled(_, Signal::SIGHUP, _) => Ok(BootEnd::Restarted),
        _ => Err(ContainerError::Init(describe(status))),
    }
}

/// Opens what is the host's, and enters the namespace of the run and the control groups of the machine.
fn enter_namespace(plan: &Plan) -> Result<Opened, ContainerError> {
    let keeper = PathBuf::from(format!("/proc/{}/ns", plan.keeper));
    let open = |name| File::open(keeper.join(name)).at_step("opening the run's namespace");
    let (users, mounts) = (open("user")?, open("mnt")?);
    let networks = plan.networks.iter();
    let networks = networks.map(|socket| socket.as_ref().map(connect).transpose());
    let networks = networks.collect::<Result<_, _>>()?;
    let groups = Membership::enter(&plan.groups).at_step("entering the control groups")?;
    let mapped_store = detached_for(Path::new(STORE), &users);
    // Nix mounts each path of a build below the store, and a layer shows none of them.
    let has_layer = plan.node.writable_store
        && !has_mounts_below(Path::new(STORE)).at_step("reading the mounts")?;
    let what = "entering the run's namespace";
    setns(users, CloneFlags::CLONE_NEWUSER).at_step(what)?;
    setns(mounts, CloneFlags::CLONE_NEWNS).at_step(what)?;
    // Otherwise its files belong to no user of the guest.
    let store = mapped_store.or_else(|_| detached(Path::new(STORE)))?;
    make_read_only(&store)?;
    let mut mounts = vec![
        (detached(&plan.shared)?, PathBuf::from("/tmp/shared")),
        (detached(&plan.exchange)?, PathBuf::from("/tmp/xchg")),
    ];
    for bind in &plan.node.binds {
        let mount = detached(&bind.source)?;
        if bind.read_only {
            make_read_only(&mount)?;
        }
        mounts.push((mount, bind.place.clone()));
    }
    std::env::set_current_dir(&plan.trees).at_step("entering the folder of trees")?;
    become_root()?;
    Ok(Opened {
        networks,
        store: Store {
            mount: store,
            has_layer,
        },
        mounts,
        groups,
    })
}

fn connect(socket: &PathBuf) -> Result<UnixStream, ContainerError> {
    UnixStream::connect(socket).at_step(format!("connecting {}", socket.display()))
}

/// Passes the cards to their networks: they are plugged in as long as both are open here.
fn plug_in(
    plan: &Plan,
    cards: &[OwnedFd],
    networks: &[Option<UnixStream>],
) -> Result<(), ContainerError> {
    let cards = plan.node.cards.iter().zip(cards);
    for ((card, end), network) in cards.zip(networks) {
        if let Some(network) = network {
            send_files(network, &plan.name, &[end.as_fd()])
                .at_step(format!("plugging in {}", card.name))?;
        }
    }
    Ok(())
}

/// Enters the machine's folder, in which its terminals and the layers of its root are.
fn enter_folder(plan: &Plan) -> Result<(), ContainerError> {
    let folder = machine_folder(&plan.name);
    if plan.node.root_life == RootLife::Boot {
        let options = in_memory(plan.node.size_mib, "755");
        fresh("tmpfs", &folder, MsFlags::empty(), &options)?;
    }
    std::env::set_current_dir(&folder).at_step("entering the machine's folder")?;
    let options = "newinstance,ptmxmode=0666,mode=620,gid=5";
    fresh("devpts", Path::new(PTS), MsFlags::MS_NOSUID, options)
}

/// The folder of a machine, in that of the keeper's trees.
pub(super) fn machine_folder(name: &str) -> PathBuf {
    Path::new("machines").join(name)
}
