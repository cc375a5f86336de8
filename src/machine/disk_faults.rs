//! Faults of the disks of virtual machines, which QEMU makes.

use serde_json::{Value, json};

use super::virtio_disks::{VirtioDisk, disk_name, disk_place, virtio_disks};
use super::{Machine, MachineError};
use crate::backend::Ability;

/// The error of the host that the guest's reads and writes get: that of a broken disk.
const INPUT_OUTPUT_ERROR: i64 = 5;

/// The requests of a guest to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskRequests {
    Reads,
    Writes,
    All,
}

/// The limits of a disk, per second; zero is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskLimits {
    pub requests: u64,
    pub bytes: u64,
}

/// A disk whose requests fail, and the way back.
#[derive(Debug)]
pub struct FailingDisk {
    disk: VirtioDisk,
    filter: String,
}

/// A disk with limits.
#[derive(Debug)]
pub struct ThrottledDisk {
    device: String,
}

impl Machine {
    /// Limits how fast a disk is, which is named as in the guest: `vda` is the first one.
    ///
    /// # Errors
    /// Returns an error for a container, for a disk that the machine does not have, and if QEMU refuses.
    pub async fn throttle_disk(
        &self,
        disk: &str,
        limits: DiskLimits,
    ) -> Result<ThrottledDisk, MachineError> {
        let device = self.virtio_disk(disk).await?.device;
        self.set_disk_limits(&device, limits).await?;
        Ok(ThrottledDisk { device })
    }

    /// Takes the limits of a disk away.
    ///
    /// # Errors
    /// Returns an error if QEMU refuses.
    pub async fn unthrottle_disk(&self, disk: &ThrottledDisk) -> Result<(), MachineError> {
        self.set_disk_limits(&disk.device, DiskLimits::default())
            .await
    }

    async fn set_disk_limits(&self, device: &str, limits: DiskLimits) -> Result<(), MachineError> {
        let arguments = json!({
            "id": device, "iops": limits.requests, "iops_rd": 0, "iops_wr": 0,
            "bps": limits.bytes, "bps_rd": 0, "bps_wr": 0,
        });
        let command = "block_set_io_throttle";
        self.monitor.qmp_send(command, &arguments).await.map(drop)
    }

    /// Has requests to a disk fail with an input/output error. `number` is another one for each fault.
    ///
    /// # Errors
    /// As for [`Machine::throttle_disk`].
    pub async fn fail_disk(
        &self,
        disk: &str,
        requests: DiskRequests,
        number: u64,
    ) -> Result<FailingDisk, MachineError> {
        let disk = self.virtio_disk(disk).await?;
        let kinds: &[&str] = match requests {
            DiskRequests::Reads => &["read"],
            DiskRequests::Writes => &["write", "flush"],
            DiskRequests::All => &["read", "write", "flush"],
        };
        let rules: Vec<Value> = kinds
            .iter()
            .map(|kind| json!({"event": "none", "iotype": kind, "errno": INPUT_OUTPUT_ERROR}))
            .collect();
        let filter = format!("snowglobe-fault-{number}");
        let arguments = json!({
            "driver": "blkdebug", "node-name": filter, "image": disk.node, "inject-error": rules,
        });
        self.monitor.qmp_send("blockdev-add", &arguments).await?;
        let failing = FailingDisk { disk, filter };
        self.connect_disk(&failing.disk.device, &failing.filter)
            .await?;
        Ok(failing)
    }

    /// Has a disk work again.
    ///
    /// # Errors
    /// Returns an error if QEMU refuses.
    pub async fn repair_disk(&self, disk: &FailingDisk) -> Result<(), MachineError> {
        self.connect_disk(&disk.disk.device, &disk.disk.node)
            .await?;
        let arguments = json!({ "node-name": disk.filter });
        self.monitor
            .qmp_send("blockdev-del", &arguments)
            .await
            .map(drop)
    }

    /// Has a device read and write another node.
    async fn connect_disk(&self, device: &str, node: &str) -> Result<(), MachineError> {
        let arguments = json!({"path": device, "property": "drive", "value": node});
        self.monitor.qmp_send("qom-set", &arguments).await.map(drop)
    }

    async fn virtio_disk(&self, name: &str) -> Result<VirtioDisk, MachineError> {
        self.life.require(Ability::Monitor)?;
        let found = self.monitor.qmp_send("query-block", &json!({})).await?;
        let disks = virtio_disks(&found);
        let disk = disk_place(name).and_then(|place| disks.get(place).cloned());
        disk.ok_or_else(|| {
            let names: Vec<String> = (0..disks.len()).map(disk_name).collect();
            let has = if names.is_empty() {
                "it has none that is virtio".to_owned()
            } else {
                format!("it has: {}", names.join(", "))
            };
            self.life.unable(format!("has no disk {name:?}; {has}"))
        })
    }
}
