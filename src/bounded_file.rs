//! Files that others may have put in the place of ours: only regular ones are read, at once, and not without end.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::libc;

/// Between two tries to lock a file.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The longest line of a file of lines, in bytes.
const LONGEST_LINE: u64 = 64 << 20;

/// Opens a regular file, or a link to one. Anything else is an error at once, whatever it is.
///
/// # Errors
/// Returns the kernel's reason, or what the file is instead.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    // Opening a named pipe would wait for its other end.
    let options = options
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    regular(options.open(path)?)
}

/// Returns the file if it is a regular one.
///
/// # Errors
/// Returns what the file is instead.
pub fn regular(file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    let what = if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    let message = format!("it is {what}, and not a file");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// Reads a regular file of at most `most` bytes.
///
/// # Errors
/// Returns an error if the file cannot be read, is none, or has more bytes.
pub fn read_bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open_regular(path)?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let message = format!("it has more than {} MiB", most >> 20);
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(bytes)
}

/// Reads a regular file of UTF-8 of at most `most` bytes.
///
/// # Errors
/// Returns the errors of [`read_bounded`], and one if the file is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let not_text = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    String::from_utf8(read_bounded(path, most)?).map_err(not_text)
}

/// Calls `take` with each line of a file, without its end, and its number, from 1. A line that is too long is an error:
/// such a file was not written by this program.
///
/// # Errors
/// Returns an error if the file cannot be read, and the first one of `take`.
pub fn for_each_line<E: From<io::Error>>(
    path: &Path,
    mut take: impl FnMut(usize, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = BufReader::new(open_regular(path)?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let length = (&mut reader)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)?;
        if length == 0 {
            break;
        }
        let is_whole = line.pop_if(|last| *last == b'\n').is_some();
        if !is_whole && length as u64 == LONGEST_LINE {
            let message = format!("line {number} has more than {} MiB", LONGEST_LINE >> 20);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message).into());
        }
        take(number, &line)?;
    }
    Ok(())
}

/// Locks a file, and waits at most `limit` for another process that has locked it.
///
/// # Errors
/// Returns the kernel's reason, or that another process has the lock.
pub fn lock_within(file: File, how: FlockArg, limit: Duration) -> io::Result<Flock<File>> {
    let how = match how {
        FlockArg::LockShared => FlockArg::LockSharedNonblock,
        FlockArg::LockExclusive => FlockArg::LockExclusiveNonblock,
        other => other,
    };
    let begin = Instant::now();
    let mut file = file;
    loop {
        match Flock::lock(file, how) {
            Ok(locked) => return Ok(locked),
            Err((back, Errno::EWOULDBLOCK)) if begin.elapsed() < limit => file = back,
            Err((_, Errno::EWOULDBLOCK)) => {
                let message = "another process has locked it";
                return Err(io::Error::new(io::ErrorKind::WouldBlock, message));
            }
            Err((_, error)) => return Err(error.into()),
        }
        std::thread::sleep(LOCK_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn only_regular_files_are_read() {
        let place = tempfile::tempdir().unwrap();
        let pipe = place.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let message = |path: &Path| read_bounded(path, 10).unwrap_err().to_string();
        assert_eq!(message(&pipe), "it is a named pipe, and not a file");
        assert_eq!(message(place.path()), "it is a folder, and not a file");
        assert_eq!(
            message(Path::new("/dev/zero")),
            "it is a device, and not a file"
        );
        let file = place.path().join("file");
        std::fs::write(&file, "0123456789").unwrap();
        assert_eq!(read_bounded(&file, 10).unwrap(), b"0123456789");
        assert_eq!(
            read_bounded(&file, 9).unwrap_err().to_string(),
            "it has more than 0 MiB"
        );
    }

    #[test]
    fn a_lock_of_others_is_an_error_after_a_while() {
        let place = tempfile::tempdir().unwrap();
        let open = || File::create(place.path().join("file")).unwrap();
        let short = Duration::from_millis(30);
        let held = lock_within(open(), FlockArg::LockExclusive, short).unwrap();
        let error = lock_within(open(), FlockArg::LockShared, short).unwrap_err();
        assert_eq!(error.to_string(), "another process has locked it");
        drop(held);
        lock_within(open(), FlockArg::LockShared, short).unwrap();
    }
}
