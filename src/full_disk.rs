//! Whether the host's disk is full.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::StatVfs;
use rustix::io::Errno;

/// Free space that is as good as none: file systems keep some blocks to themselves.
const NEXT_TO_NOTHING_BYTES: u64 = 1 << 20;

/// How much of a disk is left free at most for others, whatever a guest writes.
const LARGEST_RESERVE_BYTES: u64 = 1 << 30;

/// A disk with less free space than eight times the largest reserve keeps this part of it.
const PART_OF_RESERVE: u64 = 8;

/// How much of the free space of a file system stays free, in bytes.
#[must_use]
pub fn reserve_of(free: u64) -> u64 {
    (free / PART_OF_RESERVE).min(LARGEST_RESERVE_BYTES)
}

/// Free bytes for this user in the file system of a folder; `None` if the file system has no size.
#[must_use]
pub fn free_bytes(folder: impl AsFd) -> Option<u64> {
    free_of(&rustix::fs::fstatvfs(folder).ok()?)
}

fn free_of(found: &StatVfs) -> Option<u64> {
    let free = if nix::unistd::geteuid().is_root() {
        found.f_bfree
    } else {
        found.f_bavail
    };
    (found.f_blocks > 0).then(|| free.saturating_mul(found.f_frsize))
}

/// Whether something was not written for want of room, or of a limit on the size of files.
#[must_use]
pub fn is_full_disk(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// The error of a folder whose file system is full, where others have seen only its effect.
///
/// # Errors
/// Returns an error if there is no room in it. Not knowing is none, as of file systems without a size.
pub fn expect_room(folder: &Path) -> io::Result<()> {
    let free = rustix::fs::statvfs(folder)
        .ok()
        .and_then(|found| free_of(&found));
    if free.is_some_and(|free| free < NEXT_TO_NOTHING_BYTES) {
        return Err(Errno::NOSPC.into());
    }
    Ok(())
}
