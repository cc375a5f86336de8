//! The root that a guest sees: laid out by the process that boots it, outside the guest's user namespace.
//!
//! All that is of the host is opened before this process enters the root, and put there afterwards: no link that the
//! guest has made in an earlier boot leads out of it then.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use nix::sched::{CloneFlags, setns};

use super::error::{AtStep, ContainerError};
use super::guest_process::{GuestProcess, run_inside};
use super::mounts::{attach, change_root, detached, fresh, leave_old_root};
use super::plan::Plan;
use super::terminals::Device;

/// Below the machine's folder, which is the working one.
const LAYERS: &str = "layers";
pub(super) const PTS: &str = "pts";

/// The Nix store, of the host and of the guest.
pub(super) const STORE: &str = "/nix/store";

/// Where systemd-nspawn has the credentials of containers.
pub(super) const CREDENTIALS: &str = "/run/host/credentials";

/// Devices of the host that do no harm.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Links that programs expect in /dev.
const LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "fd/0"),
    ("stdout", "fd/1"),
    ("stderr", "fd/2"),
];

/// Files of a page each, in a MiB: with twice as many a file system of memory takes empty files and links, too.
const INODES_PER_MIB: u64 = 2 * 256;

/// Parts of the host that the root shows, each opened, with its place in the guest.
#[derive(Debug)]
pub(super) struct HostParts {
    store: Store,
    mounts: Vec<(OwnedFd, PathBuf)>,
    credentials: BTreeMap<String, Vec<u8>>,
}

impl HostParts {
    /// Opens the devices and credentials of a plan. The Nix store and `mounts` are opened already.
    ///
    /// # Errors
    /// Returns the part that cannot be opened.
    pub fn open(
        store: Store,
        mounts: Vec<(OwnedFd, PathBuf)>,
        plan: &Plan,
    ) -> Result<Self, ContainerError> {
        let read = |(name, source): (&String, &PathBuf)| {
            let what = format!("reading the credential {name}, {}", source.display());
            Ok((name.clone(), fs::read(source).at_step(what)?))
        };
        let credentials = plan.node.credentials.iter().map(read);
        Ok(Self {
            store,
            mounts,
            credentials: credentials.collect::<Result<_, _>>()?,
        })
    }
}

/// Gives this process, and that of the guest, the root of a plan: its layers are in the working folder.
///
/// # Errors
/// Returns the mount that the kernel refuses.
pub(super) fn lay_out_root(
    plan: &Plan,
    terminals: &[Device],
    parts: &HostParts,
    guest: &GuestProcess,
) -> Result<(), ContainerError> {
    let devices = DeviceParts::open(terminals)?;
    let processes = guest.namespace("pid")?;
    let groups = guest.namespace("cgroup")?;
    // A file system of control groups begins at the group of the namespace in which it is mounted.
    setns(groups, CloneFlags::CLONE_NEWCGROUP).at_step("entering the guest's control groups")?;
    mount_layers(plan)?;
    let store = parts.store.for_guest()?;
    change_root(&Path::new(LAYERS).join("root"))?;
    // The file systems of the host are still there: without them the kernel would refuse new ones of these kinds.
    let secure = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    run_inside(&processes, || fresh("proc", Path::new("/proc"), secure, ""))?;
    let (sys, read_only) = (Path::new("/sys"), secure | MsFlags::MS_RDONLY);
    fresh("sysfs", sys, read_only, "")?;
    fresh("cgroup2", &sys.join("fs/cgroup"), secure, "")?;
    leave_old_root()?;

    let no_programs_of_others = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let run = in_memory(plan.memory_mib / 4, "755");
    fresh("tmpfs", Path::new("/run"), no_programs_of_others, &run)?;
    devices.show(plan)?;
    attach(&store, Path::new(STORE))?;
    for (mount, place) in &parts.mounts {
        attach(mount, place)?;
    }
    for (name, content) in &plan.node.run_files {
        write_new(&Path::new("/run").join(name), content.as_bytes(), 0o644)?;
    }
    for (name, content) in &parts.credentials {
        write_new(&Path::new(CREDENTIALS).join(name), content, 0o400)?;
    }
    Ok(())
}

/// The options of a file system in memory.
pub(super) fn in_memory(size_mib: u64, mode: &str) -> String {
    let size_mib = size_mib.max(1);
    let inodes = size_mib * INODES_PER_MIB;
    format!("mode={mode},size={size_mib}m,nr_inodes={inodes}")
}

/// Mounts the tree of the guest's root, and above it the layer for what the guest writes.
fn mount_layers(plan: &Plan) -> Result<(), ContainerError> {
    let layers = Path::new(LAYERS);
    for name in ["upper", "work"] {
        fs::create_dir_all(layers.join(name)).at_step("making layers")?;
    }
    let options = format!(
        "lowerdir={},upperdir={LAYERS}/upper,workdir={LAYERS}/work",
        Path::new("../..").join(&plan.tree).display()
    );
    fresh("overlay", &layers.join("root"), MsFlags::empty(), &options)
}

/// The Nix store of the host.
#[derive(Debug)]
pub(super) struct Store {
    /// Read-only.
    pub mount: OwnedFd,
    /// Whether the guest gets a layer above it, to write there.
    pub has_layer: bool,
}

impl Store {
    /// Opens the store as the guest sees it.
    fn for_guest(&self) -> Result<OwnedFd, ContainerError> {
        if self.has_layer {
            return store_to_write(&self.mount);
        }
        self.mount.try_clone().at_step("opening the store")
    }
}

/// Mounts the store, and above it a layer for what the guest writes there; opens the store alone where the kernel has no
/// layers above mounts whose IDs are mapped (before Linux 5.19).
fn store_to_write(store: &OwnedFd) -> Result<OwnedFd, ContainerError> {
    let layers = Path::new(LAYERS);
    for name in ["store-upper", "store-work"] {
        fs::create_dir_all(layers.join(name)).at_step("making layers of the store")?;
    }
    let lower = layers.join("store-lower");
    attach(store, &lower)?;
    let place = layers.join("store");
    let options = format!(
        "lowerdir={LAYERS}/store-lower,upperdir={LAYERS}/store-upper,workdir={LAYERS}/store-work"
    );
    // Without flags, as Nix mounts it anew: one that it leaves out would be refused to it. The layer is the guest's own,
    // as that of its root is.
    match fresh("overlay", &place, MsFlags::empty(), &options) {
        Ok(()) => detached(&place),
        Err(_) => detached(&lower),
    }
}

/// The devices of the guest, opened before this process enters its root.
struct DeviceParts {
    mounts: Vec<(OwnedFd, PathBuf)>,
}

impl DeviceParts {
    fn open(terminals: &[Device]) -> Result<Self, ContainerError> {
        let mut mounts = vec![(detached(Path::new(PTS))?, PathBuf::from("/dev/pts"))];
        let devices = Path::new("/dev");
        for name in DEVICES {
            mounts.push((detached(&devices.join(name))?, devices.join(name)));
        }
        for Device { number, name } in terminals {
            let terminal = detached(&Path::new(PTS).join(number))?;
            mounts.push((terminal, devices.join(name)));
        }
        Ok(Self { mounts })
    }

    fn show(&self, plan: &Plan) -> Result<(), ContainerError> {
        let devices = Path::new("/dev");
        let size = in_memory(plan.memory_mib / 20, "755");
        fresh("tmpfs", devices, MsFlags::MS_NOSUID, &size)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let size = in_memory(plan.memory_mib / 2, "1777");
        fresh("tmpfs", &devices.join("shm"), flags, &size)?;
        for (name, leads_to) in LINKS {
            symlink(leads_to, devices.join(name)).at_step(format!("making /dev/{name}"))?;
        }
        for (mount, place) in &self.mounts {
            attach(mount, place)?;
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
