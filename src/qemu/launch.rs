//! The environment of a machine's run script, with which QEMU is started.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use super::vsock::SshBackdoor;
use super::{Accelerator, HostAccelerator};
use crate::agent::ShellSockets;
use crate::backend::{
    Ability, Backend, BackendError, Boot, BootFrom, EnvironmentAtStart, Inability, Launch,
    MachineFolders, NetworkControl, OnReboot, Prepared,
};
use crate::confined::Owner;
use crate::model::manifest::{BackendKind, Guest, Node};

/// The socket of the monitor that scripts speak with.
pub const SCRIPTS_MONITOR: &str = "qmp-script";

/// Settings of all virtual machines of a run.
#[derive(Debug, Clone)]
pub struct QemuSettings {
    pub host: HostAccelerator,
    /// The factor for default timeouts.
    pub timeout_factor: f64,
    /// The driver's environment before the script ran.
    pub environment: Arc<EnvironmentAtStart>,
}

/// A virtual machine.
#[derive(Debug)]
pub struct QemuBackend {
    start_script: PathBuf,
    guest: Guest,
    /// Whether the machine gets a device that tells its kernel of a restore.
    learns_of_restores: bool,
    accelerator: Accelerator,
    ssh_backdoor: SshBackdoor,
    folders: MachineFolders,
    settings: QemuSettings,
    /// Variables by which the run script finds the networks.
    network_environment: Vec<(OsString, OsString)>,
}

impl Backend for QemuBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Vm
    }

    fn prepare(&self, boot: Boot) -> Prepared<'_> {
        let launch = Launch {
            program: self.start_script.clone(),
            arguments: Vec::new(),
            folder: self.folders.state.clone(),
            environment: self.environment(boot),
        };
        Box::pin(async move {
            let started = self.ssh_backdoor.start(&self.folders.state).await;
            started.map_err(BackendError::new)?;
            Ok(launch)
        })
    }

    fn require(&self, ability: Ability) -> Result<(), Inability> {
        match ability {
            Ability::Monitor | Ability::Keyboard | Ability::Display => Ok(()),
            Ability::SshBackdoor => self.ssh_backdoor.require(),
        }
    }

    fn network_control(&self) -> NetworkControl {
        NetworkControl::Monitor
    }

    /// QEMU reads them for the guest.
    fn guest_root(&self) -> Option<Owner> {
        None
    }

    fn clean_up(&self) {
        self.ssh_backdoor.stop();
    }
}

impl QemuBackend {
    /// The machine of a node, by its run script.
    #[must_use]
    pub fn new(
        start_script: PathBuf,
        node: &Node,
        folders: MachineFolders,
        settings: QemuSettings,
        network_environment: Vec<(OsString, OsString)>,
    ) -> Self {
        Self {
            start_script,
            guest: node.guest,
            learns_of_restores: node.snapshot_safe && has_restore_device(node.architecture()),
            accelerator: settings.host.of(node).accelerator,
            ssh_backdoor: SshBackdoor::of(node.ssh_backdoor.as_deref()),
            folders,
            settings,
            network_environment,
        }
    }

    /// The user's, after those that have a slow guest's systemd wait as much longer as the script does.
    fn kernel_parameters(&self) -> Option<String> {
        let waits_longer = self.guest == Guest::Nixos && self.settings.timeout_factor > 1.0;
        waits_longer.then(|| {
            let ours = systemd_timeouts(self.settings.timeout_factor);
            match std::env::var("QEMU_KERNEL_PARAMS") {
                Ok(given) => format!("{ours} {given}"),
                Err(_) => ours,
            }
        })
    }

    /// Returns the variables that run scripts read (see architecture.md).
    fn environment(&self, boot: Boot) -> Vec<(OsString, OsString)> {
        let here = &self.settings;
        let mut options = vec![
            "-qmp unix:qmp,server=on,wait=off",
            "-qmp unix:qmp-script,server=on,wait=off",
            "-device virtio-rng-pci",
            "-serial stdio",
        ];
        let shell = ShellSockets::arguments();
        options.extend(shell.iter().map(String::as_str));
        if boot.on_reboot == OnReboot::End {
            options.push("-no-reboot");
        }
        if self.learns_of_restores {
            // Notifies the kernel that it was restored: its random numbers are
            // to be others than those of the last time.
            options.push("-device vmgenid,guid=auto");
        }
        if boot.from == BootFrom::Saved {
            options.push("-incoming defer");
        }
        if self.accelerator == Accelerator::Tcg {
            // A run script of NixOS would take the first that opens.
            options.push("-machine accel=tcg");
        }
        options.extend(self.ssh_backdoor.options());
        if self.guest == Guest::Nixos {
            options.push("-nographic");
        }
        let given = std::env::var("QEMU_OPTS").ok();
        options.extend(given.as_deref());
        let mut environment = here.environment.for_run_script();
        if let Some(parameters) = self.kernel_parameters() {
            environment.push(("QEMU_KERNEL_PARAMS".into(), parameters.into()));
        }
        environment.extend([
            ("TMPDIR".into(), self.folders.state.clone().into()),
            ("USE_TMPDIR".into(), "1".into()),
            ("SHARED_DIR".into(), self.folders.shared.clone().into()),
            ("QEMU_OPTS".into(), options.join(" ").into()),
        ]);
        environment.extend(self.network_environment.iter().cloned());
        environment
    }
}

/// Whether QEMU has, for an architecture, the device that tells a kernel of a restore: 7.2 has it for these alone.
fn has_restore_device(architecture: &str) -> bool {
    ["x86_64", "i686"].contains(&architecture)
}

/// Parameters of the kernel for systemd, which waits 90 s for a unit or a device that does not say how long. Older
/// systemds know the first alone, and take it for devices, too.
fn systemd_timeouts(factor: f64) -> String {
    let seconds = (90.0 * factor).ceil();
    format!(
        "systemd.default_timeout_start_sec={seconds} systemd.default_device_timeout_sec={seconds}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_waits_as_much_longer_as_the_script() {
        assert_eq!(
            systemd_timeouts(10.0),
            "systemd.default_timeout_start_sec=900 systemd.default_device_timeout_sec=900"
        );
        assert!(systemd_timeouts(1.01).contains("start_sec=91 "));
    }
}
