//! The first process of a container, until it is the guest's init: lays out the root that the guest sees.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use serde::{Deserialize, Serialize};

use super::error::{AtStep, ContainerError};
use super::mounts::{
    attach, bind, bind_read_only, detached, enter_root, fresh, make_private, make_read_only,
};
use super::plan::Plan;
use super::terminals::Device;
use crate::model::manifest::ContainerNode;

pub(super) const STORE: &str = "/nix/store";

/// Below the machine's folder, which is the working one.
pub(super) const STORE_PLACE: &str = "store";
pub(super) const SHARED: &str = "shared";
pub(super) const EXCHANGE: &str = "xchg";
pub(super) const PTS: &str = "pts";
pub(super) const LAYERS: &str = "layers";

/// Where systemd-nspawn has the credentials of containers.
const CREDENTIALS: &str = "/run/host/credentials";

/// What a guest could do to the host, or to another guest, in spite of its namespaces.
const DROPPED: [CapabilitySet; 5] = [
    CapabilitySet::SYS_TIME,
    CapabilitySet::SYS_MODULE,
    CapabilitySet::SYS_RAWIO,
    CapabilitySet::SYSLOG,
    CapabilitySet::MKNOD,
];

/// Devices of the host that do no harm.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// What programs expect in /dev.
const LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "fd/0"),
    ("stdout", "fd/1"),
    ("stderr", "fd/2"),
];

/// What init is started with, on its standard input.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BootPlan {
    pub machine: Plan,
    pub devices: Vec<Device>,
}

/// Becomes the guest's init. Returns only if that fails.
///
/// # Errors
/// When the root cannot be laid out, or has no such program.
pub fn become_init() -> Result<(), ContainerError> {
    let mut text = Vec::new();
    let read = io::stdin().read_to_end(&mut text);
    read.at_step("reading the plan")?;
    let plan: BootPlan = serde_json::from_slice(&text).at_step("reading the plan")?;
    unshare(CloneFlags::CLONE_NEWNS).at_step("making a mount namespace")?;
    make_private()?;
    let root = Path::new(LAYERS).join("root");
    lay_out(&plan, &root)?;
    activate(&plan, &root)?;
    let node = &plan.machine.node;
    let foreign = Foreign::open(node)?;
    std::env::set_current_dir(&root).at_step("entering the root")?;
    enter_root()?;
    foreign.show(node)?;
    drop_capabilities()?;
    let console = || {
        fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/console")
    };
    let console = || console().at_step("opening the console");
    let (program, arguments) = node
        .init
        .split_first()
        .ok_or_else(|| io::Error::other("it has no name"))
        .at_step("starting the guest's init")?;
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

/// Takes from this process, and all that it starts, what a guest must not do.
pub(super) fn drop_capabilities() -> Result<(), ContainerError> {
    for capability in DROPPED {
        remove_capability_from_bounding_set(capability).at_step("dropping a capability")?;
    }
    Ok(())
}

/// Mounts what the guest sees.
fn lay_out(plan: &BootPlan, root: &Path) -> Result<(), ContainerError> {
    let layers = Path::new(LAYERS);
    for name in ["upper", "work"] {
        fs::create_dir_all(layers.join(name)).at_step("making layers")?;
    }
    let none = MsFlags::empty();
    let options = format!(
        "lowerdir={},upperdir={LAYERS}/upper,workdir={LAYERS}/work",
        Path::new("../..").join(&plan.machine.tree).display()
    );
    fresh("overlay", root, none, &options)?;
    bind_read_only(Path::new(STORE_PLACE), &root.join("nix/store"))?;
    let secure = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    fresh(
        "tmpfs",
        &root.join("run"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        "mode=755",
    )?;
    fresh("proc", &root.join("proc"), secure, "")?;
    fresh("sysfs", &root.join("sys"), secure | MsFlags::MS_RDONLY, "")?;
    fresh("cgroup2", &root.join("sys/fs/cgroup"), secure, "")?;
    lay_out_devices(&plan.devices, &root.join("dev"))
}

/// Where a part of the host is mounted, below the machine's folder.
pub(super) fn bind_place(number: usize) -> PathBuf {
    PathBuf::from(format!("binds/{number}"))
}

/// What a guest's root shows that is not its own. It is opened before this process enters the root and put there
/// afterwards: no link that the guest has made leads out of it then.
struct Foreign {
    mounts: Vec<(OwnedFd, PathBuf)>,
    credentials: BTreeMap<String, Vec<u8>>,
}

impl Foreign {
    fn open(node: &ContainerNode) -> Result<Self, ContainerError> {
        let mut mounts = vec![
            (detached(Path::new(SHARED))?, PathBuf::from("/tmp/shared")),
            (detached(Path::new(EXCHANGE))?, PathBuf::from("/tmp/xchg")),
        ];
        for (number, bind) in node.binds.iter().enumerate() {
            mounts.push((detached(&bind_place(number))?, bind.place.clone()));
        }
        let read = |(name, source): (&String, &PathBuf)| {
            let what = format!("reading the credential {name}, {}", source.display());
            Ok((name.clone(), fs::read(source).at_step(what)?))
        };
        let credentials = node.credentials.iter().map(read);
        Ok(Self {
            mounts,
            credentials: credentials.collect::<Result<_, _>>()?,
        })
    }

    fn show(&self, node: &ContainerNode) -> Result<(), ContainerError> {
        for (mount, place) in &self.mounts {
            attach(mount, place)?;
        }
        for bind in node.binds.iter().filter(|bind| bind.read_only) {
            make_read_only(&bind.place)?;
        }
        let run = Path::new("/run");
        for (name, content) in &node.run_files {
            write_new(&run.join(name), content.as_bytes(), 0o644)?;
        }
        for (name, content) in &self.credentials {
            write_new(&Path::new(CREDENTIALS).join(name), content, 0o400)?;
        }
        Ok(())
    }
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), ContainerError> {
    let written = fs::create_dir_all(path.parent().unwrap_or(path)).and_then(|()| {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(content)
    });
    written.at_step(format!("writing {}", path.display()))
}

fn lay_out_devices(terminals: &[Device], devices: &Path) -> Result<(), ContainerError> {
    fresh("tmpfs", devices, MsFlags::MS_NOSUID, "mode=755")?;
    fresh(
        "tmpfs",
        &devices.join("shm"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        "mode=1777",
    )?;
    for name in DEVICES {
        bind(&Path::new("/dev").join(name), &devices.join(name))?;
    }
    for (name, leads_to) in LINKS {
        symlink(leads_to, devices.join(name)).at_step(format!("making /dev/{name}"))?;
    }
    bind(Path::new(PTS), &devices.join("pts"))?;
    for Device { number, name } in terminals {
        let device = devices.join(name);
        let folder = device.parent().unwrap_or(devices);
        fs::create_dir_all(folder).at_step(format!("making /dev/{name}"))?;
        bind(&Path::new(PTS).join(number), &device)?;
    }
    Ok(())
}

/// Runs what prepares the root, in the guest's namespaces.
fn activate(plan: &BootPlan, root: &Path) -> Result<(), ContainerError> {
    let Some(program) = &plan.machine.node.activation else {
        return Ok(());
    };
    let what = "preparing the root";
    let output = Command::new(program)
        // Relative: the folders above are not the guests' root's to enter.
        .arg(root)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .at_step(what)?;
    if output.status.success() {
        return Ok(());
    }
    Err(ContainerError::Program {
        program: program.display().to_string(),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
