//! The log of a disk's writes, as QEMU's `blklogwrites` writes it in the format of Linux' dm-log-writes: the writes up to
//! the last flush are those that a power failure leaves.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Bytes of a sector of the log, and of the disk in it.
const SECTOR: u64 = 512;

/// The first eight bytes of a log.
const MAGIC: u64 = 0x006a_7366_7773_6872;

/// The version of the format.
const VERSION: u64 = 1;

/// Everything before it is on the disk.
const FLUSH: u64 = 1;
/// A write that is on the disk by itself.
const FORCED: u64 = 1 << 1;
/// Sectors whose content is of no use any more; there is no data.
const DISCARD: u64 = 1 << 2;
/// A mark of another tool; its data is no write.
const MARK: u64 = 1 << 3;

/// Bytes that are copied at a time.
const PIECE: usize = 1 << 20;

/// A write in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LoggedWrite {
    /// The first byte of the disk.
    offset: u64,
    /// Bytes that are written.
    length: u64,
    flags: u64,
    /// The first byte of the data in the log; the write has none if it discards.
    data: u64,
}

/// Repeats the writes of a log that are flushed, on a copy of the disk as it was before.
///
/// # Errors
/// Returns an error if the log is none, or a file cannot be read or written.
pub(super) fn repeat_flushed(log: &mut File, disk: &mut File) -> io::Result<()> {
    let writes = read_writes(log)?;
    let flushed = writes
        .iter()
        .rposition(|write| write.flags & FLUSH != 0)
        .map_or(0, |last| last + 1);
    for (place, write) in writes.iter().enumerate() {
        let is_on_disk = place < flushed || write.flags & FORCED != 0;
        if is_on_disk && write.flags & (DISCARD | MARK) == 0 {
            copy(log, write, disk)?;
        }
    }
    disk.sync_all()
}

/// Reads the whole writes that the log counts.
fn read_writes(log: &mut File) -> io::Result<Vec<LoggedWrite>> {
    let end = log.seek(SeekFrom::End(0))?;
    if end == 0 {
        // Nothing was written.
        return Ok(Vec::new());
    }
    let mut head = [0; 28];
    log.rewind()?;
    log.read_exact(&mut head)?;
    let [magic, version, count] = [0, 8, 16].map(|at| number(&head, at));
    if (magic, version) != (MAGIC, VERSION) || head[24..] != 512_u32.to_le_bytes() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is no log of writes",
        ));
    }
    let mut writes = Vec::new();
    let mut place = SECTOR;
    for _ in 0..count {
        let mut head = [0; 32];
        log.seek(SeekFrom::Start(place))?;
        if log.read_exact(&mut head).is_err() {
            break;
        }
        let [sector, sectors, flags, data_bytes] = [0, 8, 16, 24].map(|at| number(&head, at));
        let data = place + SECTOR;
        let stored = match flags {
            flags if flags & MARK != 0 => data_bytes.next_multiple_of(SECTOR),
            flags if flags & DISCARD != 0 => 0,
            _ => sectors.saturating_mul(SECTOR),
        };
        let Some(next) = data
            .checked_add(stored)
            .filter(|next| *next <= end.next_multiple_of(SECTOR))
        else {
            break;
        };
        writes.push(LoggedWrite {
            offset: sector.saturating_mul(SECTOR),
            length: if flags & (DISCARD | MARK) == 0 {
                stored
            } else {
                0
            },
            flags,
            data,
        });
        place = next;
    }
    Ok(writes)
}

fn copy(log: &mut File, write: &LoggedWrite, disk: &mut File) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut done = 0;
    log.seek(SeekFrom::Start(write.data))?;
    disk.seek(SeekFrom::Start(write.offset))?;
    while done < write.length {
        let rest = usize::try_from(write.length - done).unwrap_or(PIECE);
        let piece = &mut piece[..rest.min(PIECE)];
        log.read_exact(piece)?;
        disk.write_all(piece)?;
        done += piece.len() as u64;
    }
    Ok(())
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a log with these writes: sector, flags, and the byte that fills the sector; no data without a byte.
    fn log(writes: &[(u64, u64, Option<u8>)]) -> File {
        let mut bytes = vec![0; 512];
        bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[8..16].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&(writes.len() as u64).to_le_bytes());
        bytes[24..28].copy_from_slice(&512_u32.to_le_bytes());
        for (sector, flags, fill) in writes {
            let mut entry = vec![0; 512];
            entry[..8].copy_from_slice(&sector.to_le_bytes());
            entry[8..16].copy_from_slice(&u64::from(fill.is_some()).to_le_bytes());
            entry[16..24].copy_from_slice(&flags.to_le_bytes());
            bytes.extend(entry);
            bytes.extend(fill.iter().flat_map(|fill| [*fill; 512]));
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file
    }

    fn repeated(log: &mut File) -> io::Result<Vec<u8>> {
        let mut disk = tempfile::tempfile().unwrap();
        disk.write_all(&[0xff; 4 * 512]).unwrap();
        repeat_flushed(log, &mut disk)?;
        let mut bytes = Vec::new();
        disk.rewind().unwrap();
        disk.read_to_end(&mut bytes).unwrap();
        Ok(bytes.chunks(512).map(|sector| sector[0]).collect())
    }

    #[test]
    fn flushed_writes_are_repeated_and_later_ones_are_not() {
        let mut log = log(&[
            (0, 0, Some(1)),
            (1, 0, Some(2)),
            (0, FLUSH, None),
            (0, 0, Some(3)),
            (2, FORCED, Some(4)),
            (3, DISCARD, None),
        ]);
        assert_eq!(repeated(&mut log).unwrap(), [1, 2, 4, 0xff]);
    }

    #[test]
    fn a_log_that_ends_early_is_read_as_far_as_it_goes() {
        let mut whole = log(&[(0, 0, Some(1)), (0, FLUSH, None), (1, FLUSH, Some(2))]);
        let end = whole.seek(SeekFrom::End(0)).unwrap();
        for length in [0, 512, 513, 1024, end - 512, end - 1] {
            whole.set_len(length).unwrap();
            let _ = repeated(&mut whole);
        }
        let mut none = tempfile::tempfile().unwrap();
        none.write_all(&[7; 4096]).unwrap();
        assert!(repeated(&mut none).is_err());
    }
}
