//! Whether the host's disk is full.

use std::io;
use std::path::Path;

use rustix::io::Errno;

/// Free space that is as good as none: file systems keep some blocks to themselves.
const NEXT_TO_NOTHING_BYTES: u64 = 1 << 20;

/// Whether something was not written for want of room.
#[must_use]
pub fn is_full_disk(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// The error of a folder whose file system is full, where others have seen only its effect.
///
/// # Errors
/// When there is no room in it. Not knowing is none, as of file systems without a size.
pub fn expect_room(folder: &Path) -> io::Result<()> {
    let Ok(found) = rustix::fs::statvfs(folder) else {
        return Ok(());
    };
    let free = if nix::unistd::geteuid().is_root() {
        found.f_bfree
    } else {
        found.f_bavail
    };
    if found.f_blocks > 0 && free.saturating_mul(found.f_frsize) < NEXT_TO_NOTHING_BYTES {
        return Err(Errno::NOSPC.into());
    }
    Ok(())
}
