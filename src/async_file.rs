//! Files that a task can wait for.

use std::fs::File;
use std::io::{self, Read, Write};

use tokio::io::unix::AsyncFd;

/// Waits for a file by the runtime. It must be one that the kernel can wait for: a device, a pipe or a socket.
///
/// # Errors
/// Returns an error if it is not.
#[allow(unsafe_code)]
pub fn register(file: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: a file has one descriptor, the same as long as it lives.
    unsafe { AsyncFd::register(file) }.map_err(|error| error.into_parts().1)
}

/// Reads once there is something to read.
///
/// # Errors
/// Returns the errors of read(2).
pub async fn read(file: &AsyncFd<File>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut ready = file.readable().await?;
        if let Ok(result) = ready.try_io(|file| file.get_ref().read(buffer)) {
            return result;
        }
    }
}

/// Writes all of it.
///
/// # Errors
/// Returns the errors of write(2).
pub async fn write(file: &AsyncFd<File>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let mut ready = file.writable().await?;
        if let Ok(result) = ready.try_io(|file| file.get_ref().write(bytes)) {
            bytes = &bytes[result?..];
        }
    }
    Ok(())
}
