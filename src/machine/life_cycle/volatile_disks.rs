//! Disks that lose their unflushed writes in a crash: QEMU logs the writes of a machine whose script asks for that.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::json;
use thiserror::Error;
use tokio::process::Command;

use super::write_log::repeat_flushed;
use crate::machine::virtio_disks::{DiskAccess, virtio_disks};
use crate::qemu::{Protocol, QmpError};

/// The argument of `crash()` that asks for it, as a script names it.
pub const LOSES_UNFLUSHED: &str = "lose_unflushed";

/// The format of an image that is the disk itself.
const RAW: &str = "raw";

/// Why writes cannot be logged, or unflushed ones lost.
#[derive(Debug, Error)]
pub enum VolatileDiskError {
    #[error(transparent)]
    Qmp(#[from] QmpError),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("`{program}` cannot convert {image}: {reason}")]
    Convert {
        program: PathBuf,
        image: PathBuf,
        reason: String,
    },
}

/// A disk whose writes are logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::machine) struct VolatileDisk {
    image: PathBuf,
    format: String,
    /// The image as it was when the log began.
    before: PathBuf,
    log: PathBuf,
}

/// Has QEMU log the writes of all disks of a machine that has just been started; returns the disks. The copies and logs are
/// in `folder`.
///
/// # Errors
/// Returns an error if QEMU refuses, or a file cannot be written.
pub(super) async fn log_writes(
    protocol: &Protocol,
    folder: &Path,
) -> Result<Vec<VolatileDisk>, VolatileDiskError> {
    // Then QEMU has written all of the images that it holds.
    protocol.send("stop", &json!({})).await?;
    let reply = protocol.send("query-block", &json!({})).await?;
    let mut disks = Vec::new();
    let writable = virtio_disks(&reply).into_iter();
    let writable = writable.filter(|disk| disk.access == DiskAccess::ReadWrite);
    for (number, writable) in writable.enumerate() {
        let disk = VolatileDisk {
            // Relative paths are in the machine's folder, where QEMU runs.
            image: folder.join(&writable.file),
            format: writable.format,
            before: folder.join(format!("disk-{number}.before")),
            log: folder.join(format!("disk-{number}.writes")),
        };
        fs::copy(&disk.image, &disk.before).map_err(at(&disk.image))?;
        File::create(&disk.log).map_err(at(&disk.log))?;
        let filter = format!("snowglobe-writes-{number}");
        let add = json!({
            "driver": "blklogwrites", "node-name": filter, "file": writable.node,
            "log": { "driver": "file", "filename": disk.log },
        });
        protocol.send("blockdev-add", &add).await?;
        let connect = json!({ "path": writable.device, "property": "drive", "value": filter });
        protocol.send("qom-set", &connect).await?;
        disks.push(disk);
    }
    protocol.send("cont", &json!({})).await?;
    Ok(disks)
}

/// Gives the disks of a machine that has ended the state that a power failure leaves: with the writes that were flushed.
/// `qemu` is the program that ran the machine.
///
/// # Errors
/// Returns an error if a file cannot be read or written, or `qemu-img` fails.
pub(in crate::machine) async fn lose_unflushed(
    disks: &[VolatileDisk],
    qemu: Option<&Path>,
) -> Result<(), VolatileDiskError> {
    for disk in disks {
        let repeated = disk.image.with_extension("flushed");
        if disk.format == RAW {
            fs::copy(&disk.before, &repeated).map_err(at(&disk.before))?;
        } else {
            convert(qemu, (&disk.format, &disk.before), (RAW, &repeated)).await?;
        }
        let repeat = || {
            let mut log = File::open(&disk.log)?;
            let mut options = File::options();
            let mut whole = options.read(true).write(true).open(&repeated)?;
            repeat_flushed(&mut log, &mut whole)
        };
        repeat().map_err(at(&disk.log))?;
        if disk.format == RAW {
            fs::rename(&repeated, &disk.image).map_err(at(&disk.image))?;
        } else {
            convert(qemu, (RAW, &repeated), (&disk.format, &disk.image)).await?;
            fs::remove_file(&repeated).map_err(at(&repeated))?;
        }
    }
    Ok(())
}

/// Converts an image by the `qemu-img` beside QEMU, or that of PATH.
async fn convert(
    qemu: Option<&Path>,
    (from_format, from): (&str, &Path),
    (to_format, to): (&str, &Path),
) -> Result<(), VolatileDiskError> {
    let beside = qemu.map(|qemu| qemu.with_file_name("qemu-img"));
    let program = beside.filter(|program| program.exists());
    let program = program.unwrap_or_else(|| PathBuf::from("qemu-img"));
    let failed = |reason: String| VolatileDiskError::Convert {
        program: program.clone(),
        image: from.to_owned(),
        reason,
    };
    let mut command = Command::new(&program);
    command
        .args(["convert", "-q", "-f", from_format, "-O", to_format, "--"])
        .args([from, to])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = command.output().await;
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr);
    Err(failed(reason.trim().to_owned()))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> VolatileDiskError {
    let path = path.to_owned();
    |source| VolatileDiskError::File { path, source }
}
