//! Whether files are as they were: their sizes, inodes and times, not their content.

use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use crate::digest::Digest;

/// A folder with more in it than this is not looked through.
const MOST_ENTRIES: u64 = 20_000;

/// A file, a folder with all in it, or what is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    entries: u64,
    fingerprint: String,
    /// The latest change of any of it, in nanoseconds since 1970.
    changed_ns: i128,
}

impl Stamp {
    /// The stamp of what is at `path`; None for a folder with too much in it, or
    /// with links to folders, whose members can be read through it.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let mut digest = Digest::default();
        let (mut entries, mut changed_ns) = (0, 0);
        // The path itself may be a link; what it leads to is meant.
        for entry in WalkDir::new(path)
            .follow_root_links(true)
            .sort_by_file_name()
        {
            let Ok(entry) = entry else {
                digest.field("unreadable");
                continue;
            };
            entries += 1;
            if entries > MOST_ENTRIES {
                return None;
            }
            if entry.depth() > 0 && entry.path_is_symlink() && leads_to_folder(entry.path()) {
                return None;
            }
            digest.field(entry.path().as_os_str().as_bytes());
            // A link's target counts, too.
            for metadata in [entry.metadata().ok(), std::fs::metadata(entry.path()).ok()] {
                changed_ns = changed_ns.max(add_metadata(metadata.as_ref(), &mut digest));
            }
        }
        Some(Self {
            entries,
            fingerprint: digest.name(),
            changed_ns,
        })
    }

    /// Returns the latest change of any of it, in nanoseconds since 1970.
    #[must_use]
    pub fn changed_ns(&self) -> i128 {
        self.changed_ns
    }
}

/// Whether it is a link to a folder that may change, unlike those of the store.
fn leads_to_folder(link: &Path) -> bool {
    std::fs::canonicalize(link)
        .is_ok_and(|target| target.is_dir() && !target.starts_with("/nix/store"))
}

/// Adds what tells a file from its earlier self, or that it is missing; returns its last change as [`changed_ns`] does.
pub(super) fn add_metadata(metadata: Option<&Metadata>, digest: &mut Digest) -> i128 {
    let Some(metadata) = metadata else {
        digest.field("missing");
        return 0;
    };
    let changed_ns = changed_ns(metadata);
    for number in [
        i128::from(metadata.dev()),
        i128::from(metadata.ino()),
        i128::from(metadata.size()),
        i128::from(metadata.mode()),
        i128::from(metadata.mtime()),
        i128::from(metadata.mtime_nsec()),
        changed_ns,
    ] {
        digest.field(number.to_le_bytes());
    }
    changed_ns
}

/// Returns the last change of a file, in nanoseconds since 1970.
pub(super) fn changed_ns(metadata: &Metadata) -> i128 {
    i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_change_of_anything_below_changes_the_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let empty = Stamp::of(path);
        fs::create_dir(path.join("sub")).unwrap();
        let with_folder = Stamp::of(path);
        assert_ne!(empty, with_folder);
        fs::write(path.join("sub/file"), "a").unwrap();
        let with_file = Stamp::of(path);
        assert_ne!(with_folder, with_file);
        assert_eq!(with_file, Stamp::of(path));
        fs::write(path.join("sub/file"), "ab").unwrap();
        assert_ne!(with_file, Stamp::of(path));
    }

    #[test]
    fn what_is_missing_has_a_stamp_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let before = Stamp::of(&file);
        assert_eq!(before, Stamp::of(&file));
        fs::write(&file, "").unwrap();
        assert_ne!(before, Stamp::of(&file));
        assert!(Stamp::of(&file).unwrap().changed_ns() > before.unwrap().changed_ns());
    }
}
