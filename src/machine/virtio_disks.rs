//! The virtio disks of a machine, as QEMU describes them.

use serde_json::Value;

/// The end of the path of a virtio disk among QEMU's objects.
const VIRTIO_BACKEND: &str = "virtio-backend";

/// A virtio disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VirtioDisk {
    /// The path of the device among QEMU's objects.
    pub device: String,
    /// The name of the node in QEMU's graph that the device reads and writes.
    pub node: String,
    pub access: DiskAccess,
    /// The image, as QEMU's command line names it.
    pub file: String,
    /// The format of the image, such as `qcow2`.
    pub format: String,
}

/// Whether a guest can write a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiskAccess {
    ReadOnly,
    ReadWrite,
}

/// Returns the virtio disks in QEMU's reply to `query-block`, in the order of the guest's names.
pub(super) fn virtio_disks(reply: &Value) -> Vec<VirtioDisk> {
    let devices = reply.get("return").and_then(Value::as_array);
    let devices = devices.map(Vec::as_slice).unwrap_or_default();
    devices.iter().filter_map(virtio_disk).collect()
}

fn virtio_disk(device: &Value) -> Option<VirtioDisk> {
    let text = |value: &Value, name: &str| Some(value.get(name)?.as_str()?.to_owned());
    let path = text(device, "qdev").filter(|path| path.ends_with(VIRTIO_BACKEND))?;
    let inserted = device.get("inserted")?;
    Some(VirtioDisk {
        device: path,
        node: text(inserted, "node-name")?,
        access: if inserted.get("ro")?.as_bool()? {
            DiskAccess::ReadOnly
        } else {
            DiskAccess::ReadWrite
        },
        file: text(inserted, "file")?,
        format: text(inserted, "drv")?,
    })
}

/// Returns the place of a disk among those of virtio by its name in the guest: `vda` is 0.
pub(super) fn disk_place(name: &str) -> Option<usize> {
    match name.strip_prefix("vd")?.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(usize::from(letter - b'a')),
        _ => None,
    }
}

/// Returns the name in the guest of the disk at a place.
pub(super) fn disk_name(place: usize) -> String {
    let letter = u8::try_from(place).ok().filter(|place| *place < 26);
    letter.map_or("vd?".to_owned(), |place| {
        format!("vd{}", char::from(b'a' + place))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn disks_are_named_as_in_the_guest() {
        let disk = |number: u32, path: &str, ro: bool| {
            json!({
                "device": format!("drive{number}"), "qdev": path,
                "inserted": {
                    "node-name": format!("#block{number}"), "ro": ro, "drv": "qcow2", "file": "empty0.qcow2",
                },
            })
        };
        let reply = json!({"return": [
            disk(1, "/machine/system.flash0", false),
            disk(2, "/machine/peripheral-anon/device[1]/virtio-backend", true),
            {"device": "cd", "qdev": "/machine/peripheral-anon/device[9]"},
            disk(3, "/machine/peripheral-anon/device[2]/virtio-backend", false),
        ]});
        let disks = virtio_disks(&reply);
        let found: Vec<_> = disks
            .iter()
            .map(|disk| (&*disk.node, disk.access))
            .collect();
        let expected = [
            ("#block2", DiskAccess::ReadOnly),
            ("#block3", DiskAccess::ReadWrite),
        ];
        assert_eq!(found, expected);
        assert_eq!(
            (disk_place("vdb"), disk_name(1)),
            (Some(1), "vdb".to_owned())
        );
        let wrong = ["sda", "vd", "vdaa", "vdA", ""];
        assert!(wrong.iter().all(|name| disk_place(name).is_none()));
        assert!(virtio_disks(&json!("nonsense")).is_empty());
    }
}
