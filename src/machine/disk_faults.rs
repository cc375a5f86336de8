//! Faults of the disks of virtual machines, which QEMU makes.

use serde_json::{Value, json};

use super::{Machine, MachineError};
use crate::backend::Ability;

/// The error of the host that the guest's reads and writes get: that of a broken disk.
const INPUT_OUTPUT_ERROR: i64 = 5;

/// The end of the path of a virtio disk among QEMU's objects.
const VIRTIO_BACKEND: &str = "virtio-backend";

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

/// A disk as QEMU has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DiskPlace {
    /// The path of the device among QEMU's objects.
    device: String,
    /// The name of the node in QEMU's graph that the device reads and writes.
    node: String,
}

/// A disk whose requests fail, and the way back.
#[derive(Debug)]
pub struct FailingDisk {
    place: DiskPlace,
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
        let device = self.disk_place(disk).await?.device;
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
        let place = self.disk_place(disk).await?;
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
            "driver": "blkdebug", "node-name": filter, "image": place.node, "inject-error": rules,
        });
        self.monitor.qmp_send("blockdev-add", &arguments).await?;
        let failing = FailingDisk { place, filter };
        self.connect_disk(&failing.place.device, &failing.filter)
            .await?;
        Ok(failing)
    }

    /// Has a disk work again.
    ///
    /// # Errors
    /// Returns an error if QEMU refuses.
    pub async fn repair_disk(&self, disk: &FailingDisk) -> Result<(), MachineError> {
        self.connect_disk(&disk.place.device, &disk.place.node)
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

    async fn disk_place(&self, disk: &str) -> Result<DiskPlace, MachineError> {
        self.life.require(Ability::Monitor)?;
        let found = self.monitor.qmp_send("query-block", &json!({})).await?;
        let places = virtio_disks(&found);
        let index = disk_index(disk);
        index
            .and_then(|index| places.get(index).cloned())
            .ok_or_else(|| {
                let count = u8::try_from(places.len()).unwrap_or(u8::MAX).min(26);
                let names: Vec<String> = (0..count)
                    .map(|place| format!("vd{}", char::from(b'a' + place)))
                    .collect();
                let has = if names.is_empty() {
                    "it has none that is virtio".to_owned()
                } else {
                    format!("it has: {}", names.join(", "))
                };
                self.life.unable(format!("has no disk {disk:?}; {has}"))
            })
    }
}

/// Returns the place of a disk among those of virtio: `vda` is 0.
fn disk_index(name: &str) -> Option<usize> {
    let letter = name.strip_prefix("vd")?;
    match letter.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(usize::from(letter - b'a')),
        _ => None,
    }
}

/// Returns the virtio disks in the reply to `query-block`, in the order of the guest's names.
fn virtio_disks(reply: &Value) -> Vec<DiskPlace> {
    let devices = reply.get("return").and_then(Value::as_array);
    let devices = devices.map(Vec::as_slice).unwrap_or_default();
    let places = devices.iter().filter_map(|device| {
        let path = device.get("qdev")?.as_str()?;
        let node = device.get("inserted")?.get("node-name")?.as_str()?;
        path.ends_with(VIRTIO_BACKEND).then(|| DiskPlace {
            device: path.to_owned(),
            node: node.to_owned(),
        })
    });
    places.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_named_as_in_the_guest() {
        let disk = |number: u32, path: &str| {
            json!({
                "device": format!("drive{number}"), "qdev": path,
                "inserted": {"node-name": format!("#block{number}"), "ro": false},
            })
        };
        let reply = json!({"return": [
            {"device": "pflash0", "inserted": {"node-name": "#block1"}, "qdev": "/machine/system.flash0"},
            disk(2, "/machine/peripheral-anon/device[1]/virtio-backend"),
            {"device": "cd", "qdev": "/machine/peripheral-anon/device[9]"},
            disk(3, "/machine/peripheral-anon/device[2]/virtio-backend"),
        ]});
        let places = virtio_disks(&reply);
        let nodes: Vec<&str> = places.iter().map(|place| place.node.as_str()).collect();
        assert_eq!(nodes, ["#block2", "#block3"]);
        assert_eq!(disk_index("vdb"), Some(1));
        assert!(
            ["sda", "vd", "vdaa", "vdA", ""]
                .iter()
                .all(|name| disk_index(name).is_none())
        );
        assert!(virtio_disks(&json!("nonsense")).is_empty());
    }
}
