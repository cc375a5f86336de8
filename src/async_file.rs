//! Files that a task can wait for.

use std::fs::File;
use std::io;

use tokio::io::unix::AsyncFd;

/// Waits for a file by the runtime. It must be one that the kernel can wait for: a device, a pipe or a socket.
///
/// # Errors
/// When it is not.
#[allow(unsafe_code)]
pub fn register(file: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: a file has one descriptor, the same as long as it lives.
    unsafe { AsyncFd::register(file) }.map_err(|error| error.into_parts().1)
}
