//! Files below a folder that a guest can rewrite at any moment.
//!
//! Every name is opened relative to the open folder that it is in, and no
//! symbolic link is followed: what a guest puts in the place of a file or
//! folder never leads out of the folder.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::full_disk::{free_bytes, reserve_of};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, SeekFrom, Uid};
use rustix::io::Errno;

const READ_FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// A folder, whatever its path leads to by now.
#[derive(Debug)]
pub struct OpenFolder {
    fd: OwnedFd,
    /// For messages.
    path: PathBuf,
}

/// A user and a group, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub user: u32,
    pub group: u32,
}

/// Changes and omissions of a copy, by paths in the copied tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CopyNotes {
    /// Links to absolute paths: they are kept as they are.
    pub absolute_links: Vec<PathBuf>,
    /// Files that have lost their set-uid or set-gid bit.
    pub cleared: Vec<PathBuf>,
    /// Devices, sockets and named pipes, which are not copied.
    pub skipped: Vec<PathBuf>,
}

/// Which permissions a copy keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModeBits {
    All,
    /// No set-uid, set-gid or sticky bit.
    Permissions,
    /// The same, and the owner may write: files of Nix's store are read-only.
    Writable,
}

impl OpenFolder {
    /// Opens a folder by a path that only this program's user can change.
    ///
    /// # Errors
    /// Returns an error if there is no such folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            fd: rustix::fs::openat(CWD, path, READ_FOLDER, Mode::empty())?,
            path: path.to_owned(),
        })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A copy of the open folder.
    ///
    /// # Errors
    /// Returns the kernel's reason if there are too many open files.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            fd: self.fd.try_clone()?,
            path: self.path.clone(),
        })
    }

    /// Whether the path still leads to this folder.
    #[must_use]
    pub fn is_at_its_path(&self) -> bool {
        let here = rustix::fs::fstat(&self.fd);
        let there = rustix::fs::stat(&self.path);
        matches!((here, there), (Ok(here), Ok(there)) if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino))
    }

    /// Opens a file to append to it, and makes it if it is missing.
    ///
    /// # Errors
    /// Returns an error if something else than a file has this name, such as a link or a named pipe.
    pub fn append_to(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::WRONLY
            | OFlags::APPEND
            | OFlags::CREATE
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(
            &self.fd,
            name,
            flags,
            Mode::from(0o666),
        )?);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::other("it is not a regular file"))
        }
    }

    /// Writes a file whole or not at all, over what has this name; `unfinished` begins the name that it has until then.
    ///
    /// # Errors
    /// Returns an error if it cannot be written.
    pub fn write_whole(&self, name: &OsStr, content: &[u8], unfinished: &str) -> io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let new = OsString::from(format!("{unfinished}{}-{number}", std::process::id()));
        let written = self.write(&new, content).and_then(|()| {
            let renamed = rustix::fs::renameat(&self.fd, &new, &self.fd, name);
            renamed.map_err(io::Error::from)
        });
        if written.is_err() {
            let _ = self.remove_file(&new);
        }
        written
    }

    /// Opens a folder in this one.
    ///
    /// # Errors
    /// Returns an error if it is missing, or something else than a folder.
    pub fn subfolder(&self, name: &OsStr) -> io::Result<Self> {
        let flags = READ_FOLDER | OFlags::NOFOLLOW;
        Ok(Self {
            fd: rustix::fs::openat(&self.fd, name, flags, Mode::empty())?,
            path: self.path.join(name),
        })
    }

    /// Makes a private folder in this one.
    ///
    /// # Errors
    /// Returns an error if something of this name is there already.
    pub fn create_subfolder(&self, name: &OsStr) -> io::Result<Self> {
        rustix::fs::mkdirat(&self.fd, name, Mode::RWXU)?;
        self.subfolder(name)
    }

    /// Opens the folder at a relative path, and makes those that are missing.
    ///
    /// # Errors
    /// Returns an error if a part of it is a link, a file, or leads out of this folder.
    pub fn descend(&self, relative: &Path) -> io::Result<Self> {
        let mut folder = self.try_clone()?;
        for part in relative.components() {
            match part {
                Component::CurDir => {}
                Component::Normal(name) => {
                    match rustix::fs::mkdirat(&folder.fd, name, Mode::from(0o777)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    folder = folder.subfolder(name)?;
                }
                _ => return Err(outside(relative)),
            }
        }
        Ok(folder)
    }

    /// Makes the folder, and all that is in it, another user's.
    ///
    /// # Errors
    /// Returns an error if this user may not do that.
    pub fn give_to(&self, owner: Owner) -> io::Result<()> {
        let user = Some(Uid::from_raw(owner.user));
        let group = Some(Gid::from_raw(owner.group));
        rustix::fs::fchown(&self.fd, user, group)?;
        for name in self.names()? {
            rustix::fs::chownat(&self.fd, &*name, user, group, AtFlags::SYMLINK_NOFOLLOW)?;
            if self.kind(&name)? == Some(FileType::Directory) {
                self.subfolder(&name)?.give_to(owner)?;
            }
        }
        Ok(())
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// Returns an error if it is missing, a link, or of another kind.
    pub fn open_file(&self, name: &OsStr) -> io::Result<File> {
        // Opening a named pipe would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&self.fd, name, flags, Mode::empty())?);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::other("it is not a regular file"))
        }
    }

    /// Makes a file; another file or a link of this name is replaced.
    ///
    /// # Errors
    /// Returns an error if it cannot be made.
    pub fn create_file(&self, name: &OsStr) -> io::Result<File> {
        self.remove_file(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from(0o666);
        Ok(rustix::fs::openat(&self.fd, name, flags, mode)?.into())
    }

    /// Makes a file with this content; another file or a link of this name is replaced.
    ///
    /// # Errors
    /// Returns an error if it cannot be written.
    pub fn write(&self, name: &OsStr, content: &[u8]) -> io::Result<()> {
        self.create_file(name)?.write_all(content)
    }

    /// Removes what has this name, folders with all that is in them.
    ///
    /// # Errors
    /// Returns an error if something cannot be removed. What is missing is none.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        if self.kind(name)? != Some(FileType::Directory) {
            return self.remove_file(name);
        }
        let folder = self.subfolder(name)?;
        for entry in folder.names()? {
            folder.remove(&entry)?;
        }
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)?)
    }

    /// The names of what is in it, sorted.
    ///
    /// # Errors
    /// Returns an error if it cannot be read.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Copies the file, link or tree `name` of this folder to `new_name` in
    /// `target`: links as links, over what was there before.
    ///
    /// # Errors
    /// Returns an error if something cannot be read or written; it is named.
    pub fn copy_to(
        &self,
        name: &OsStr,
        target: &Self,
        new_name: &OsStr,
        bits: ModeBits,
    ) -> io::Result<CopyNotes> {
        let mut copy = Copy {
            bits,
            reserve: None,
            notes: CopyNotes::default(),
        };
        copy.entry(&CopiedEntry {
            from: self,
            name,
            to: target,
            new_name,
            shown: Path::new(new_name),
        })?;
        Ok(copy.notes)
    }

    /// None if nothing has this name.
    fn kind(&self, name: &OsStr) -> io::Result<Option<FileType>> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn remove_file(&self, name: &OsStr) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A file, link or folder to copy.
struct CopiedEntry<'a> {
    from: &'a OpenFolder,
    name: &'a OsStr,
    to: &'a OpenFolder,
    new_name: &'a OsStr,
    /// Its path in the copied tree.
    shown: &'a Path,
}

/// One copy of a tree.
struct Copy {
    bits: ModeBits,
    /// Bytes that stay free on the target's disk, as it was at the first file.
    reserve: Option<u64>,
    notes: CopyNotes,
}

impl Copy {
    fn entry(&mut self, at: &CopiedEntry<'_>) -> io::Result<()> {
        let named = |error: io::Error| in_tree(at.shown, &error);
        match at.from.kind(at.name).map_err(named)? {
            Some(FileType::Symlink) => self.link(at).map_err(named),
            Some(FileType::Directory) => self.folder(at),
            Some(FileType::RegularFile) => self.file(at).map_err(named),
            Some(_) => {
                self.notes.skipped.push(at.shown.to_owned());
                Ok(())
            }
            None => Err(named(io::ErrorKind::NotFound.into())),
        }
    }

    fn link(&mut self, at: &CopiedEntry<'_>) -> io::Result<()> {
        let leads_to = rustix::fs::readlinkat(&at.from.fd, at.name, Vec::new())?;
        if leads_to.to_bytes().starts_with(b"/") {
            self.notes.absolute_links.push(at.shown.to_owned());
        }
        at.to.remove_file(at.new_name)?;
        Ok(rustix::fs::symlinkat(leads_to, &at.to.fd, at.new_name)?)
    }

    fn folder(&mut self, at: &CopiedEntry<'_>) -> io::Result<()> {
        let named = |error: io::Error| in_tree(at.shown, &error);
        let source = at.from.subfolder(at.name).map_err(named)?;
        if at.to.kind(at.new_name).map_err(named)? != Some(FileType::Directory) {
            at.to.remove_file(at.new_name).map_err(named)?;
            at.to.create_subfolder(at.new_name).map_err(named)?;
        }
        let target = at.to.subfolder(at.new_name).map_err(named)?;
        for name in source.names().map_err(named)? {
            self.entry(&CopiedEntry {
                from: &source,
                name: &name,
                to: &target,
                new_name: &name,
                shown: &at.shown.join(&name),
            })?;
        }
        let source = File::from(source.fd);
        let target = File::from(target.fd);
        self.keep_mode(&source, &target, at.shown).map_err(named)
    }

    fn file(&mut self, at: &CopiedEntry<'_>) -> io::Result<()> {
        let mut source = at.from.open_file(at.name)?;
        let mut target = at.to.create_file(at.new_name)?;
        let reserve = self.reserve(&target);
        copy_content(&mut source, &mut target, reserve)?;
        self.keep_mode(&source, &target, at.shown)
    }

    fn reserve(&mut self, target: &File) -> u64 {
        let before = || free_bytes(target).map_or(0, reserve_of);
        *self.reserve.get_or_insert_with(before)
    }

    fn keep_mode(&mut self, source: &File, target: &File, shown: &Path) -> io::Result<()> {
        let mode = source.metadata()?.mode() & 0o7777;
        let kept = match self.bits {
            ModeBits::All => mode,
            ModeBits::Permissions => mode & 0o777,
            ModeBits::Writable => mode & 0o777 | 0o200,
        };
        if mode & 0o6000 != kept & 0o6000 {
            self.notes.cleared.push(shown.to_owned());
        }
        target.set_permissions(Permissions::from_mode(kept))
    }
}

impl CopyNotes {
    /// Returns a sentence for each thing that a user should know of the copy.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        [
            (
                "links to absolute paths are copied as they are",
                &self.absolute_links,
            ),
            ("set-uid and set-gid bits are not copied", &self.cleared),
            (
                "devices, sockets and named pipes are not copied",
                &self.skipped,
            ),
        ]
        .into_iter()
        .filter(|(_, paths)| !paths.is_empty())
        .map(|(what, paths)| format!("{what}: {}", listed(paths)))
        .collect()
    }
}

/// The first of them by name, the rest by number.
fn listed(paths: &[PathBuf]) -> String {
    const SHOWN: usize = 5;
    let mut text = paths
        .iter()
        .take(SHOWN)
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ");
    if paths.len() > SHOWN {
        let _ = write!(text, " and {} more", paths.len() - SHOWN);
    }
    text
}

/// The most that is read of a file that says it is empty, as those of `/proc` do.
const MOST_UNTOLD_BYTES: u64 = 64 << 20;

/// How much is copied between two looks at the free space.
const STEP_BYTES: u64 = 16 << 20;

/// Copies at most so many bytes, as long as there is more than the reserve free; returns how many.
fn copy_data(source: &mut File, target: &mut File, most: u64, reserve: u64) -> io::Result<u64> {
    let mut copied = 0;
    while copied < most {
        let step = STEP_BYTES.min(most - copied);
        if free_bytes(&*target).is_some_and(|free| free.saturating_sub(reserve) < step) {
            return Err(Errno::NOSPC.into());
        }
        let now = io::copy(&mut source.take(step), target)?;
        copied += now;
        if now < step {
            break;
        }
    }
    Ok(copied)
}

/// Copies a file in its length of now, with its holes. The guest may change it meanwhile.
fn copy_content(source: &mut File, target: &mut File, reserve: u64) -> io::Result<()> {
    let length = source.metadata()?.len();
    if length == 0 {
        // The least that is free for it: a file of the kernel's has no length.
        io::copy(&mut source.take(MOST_UNTOLD_BYTES), target)?;
        return Ok(());
    }
    let mut position = 0;
    while position < length {
        let (data, end) = match next_data(source, position) {
            Ok((data, end)) => (data, end.min(length)),
            // What is left is a hole.
            Err(Errno::NXIO) => return target.set_len(length),
            // A file system that knows no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => (position, length),
            Err(error) => return Err(error.into()),
        };
        if data >= length {
            return target.set_len(length);
        }
        rustix::fs::seek(&*source, SeekFrom::Start(data))?;
        rustix::fs::seek(&*target, SeekFrom::Start(data))?;
        let copied = copy_data(source, target, end - data, reserve)?;
        if copied < end - data {
            // It is shorter than it says, as those of `/sys` are, or than it was.
            return Ok(());
        }
        position = end;
    }
    Ok(())
}

/// Where the data begins and ends that is not before `position`; NXIO if there is no more.
fn next_data(file: &File, position: u64) -> rustix::io::Result<(u64, u64)> {
    let begin = rustix::fs::seek(file, SeekFrom::Data(position))?;
    Ok((begin, rustix::fs::seek(file, SeekFrom::Hole(begin))?))
}

fn in_tree(shown: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", shown.display()))
}

fn outside(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{} leads out of the folder", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{FileExt, symlink};

    use super::*;

    /// Two folders, the first one a guest's.
    fn folders(place: &tempfile::TempDir) -> (OpenFolder, OpenFolder) {
        let open = |name: &str| {
            let path = place.path().join(name);
            fs::create_dir(&path).unwrap();
            OpenFolder::open(&path).unwrap()
        };
        (open("guest"), open("host"))
    }

    fn copy(from: &OpenFolder, to: &OpenFolder, name: &str) -> io::Result<CopyNotes> {
        let name = OsStr::new(name);
        from.copy_to(name, to, name, ModeBits::Permissions)
    }

    #[test]
    fn trees_keep_links_and_permissions() {
        let place = tempfile::tempdir().unwrap();
        let (guest, host) = folders(&place);
        let tree = guest.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("program"), "x").unwrap();
        fs::set_permissions(tree.join("program"), Permissions::from_mode(0o6750)).unwrap();
        symlink("program", tree.join("link")).unwrap();
        symlink("/etc/passwd", tree.join("absolute")).unwrap();
        rustix::fs::mknodat(CWD, tree.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        // Twice: the second copy replaces the first.
        copy(&guest, &host, "tree").unwrap();
        let notes = copy(&guest, &host, "tree").unwrap();
        let copied = host.path().join("tree");
        assert_eq!(
            fs::read_link(copied.join("link")).unwrap(),
            Path::new("program")
        );
        let mode = fs::metadata(copied.join("program"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o750);
        assert!(!copied.join("pipe").exists());
        assert_eq!(
            notes.sentences(),
            [
                "links to absolute paths are copied as they are: tree/absolute",
                "set-uid and set-gid bits are not copied: tree/program",
                "devices, sockets and named pipes are not copied: tree/pipe",
            ]
        );
    }

    #[test]
    fn files_keep_their_holes() {
        let place = tempfile::tempdir().unwrap();
        let (guest, host) = folders(&place);
        let length = 64 << 20;
        let file = File::create(guest.path().join("image")).unwrap();
        file.set_len(length).unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(b"middle", length / 2 - 3).unwrap();
        File::create(guest.path().join("empty")).unwrap();
        copy(&guest, &host, "image").unwrap();
        copy(&guest, &host, "empty").unwrap();
        let copied = host.path().join("image");
        let content = |path: &Path| fs::read(path).unwrap();
        assert!(content(&copied) == content(&guest.path().join("image")));
        assert!(copied.metadata().unwrap().blocks() * 512 < 1 << 20);
        assert_eq!(content(&host.path().join("empty")), b"");
    }

    #[test]
    fn files_of_the_kernel_are_copied_as_they_are_read() {
        let place = tempfile::tempdir().unwrap();
        let (_, host) = folders(&place);
        for (folder, name) in [
            ("/proc", "version"),
            ("/sys/kernel", "notes"),
            ("/sys/kernel/mm/transparent_hugepage", "enabled"),
        ] {
            let from = OpenFolder::open(Path::new(folder)).unwrap();
            copy(&from, &host, name).unwrap();
            let there = fs::read(Path::new(folder).join(name)).unwrap();
            assert!(fs::read(host.path().join(name)).unwrap() == there, "{name}");
        }
    }

    #[test]
    fn a_link_in_the_place_of_a_folder_leads_nowhere() {
        let place = tempfile::tempdir().unwrap();
        let (guest, host) = folders(&place);
        let secret = place.path().join("secret");
        fs::create_dir(&secret).unwrap();
        fs::write(secret.join("key"), "secret").unwrap();

        // Read: the staged tree is swapped for a link.
        let staged = guest.create_subfolder(OsStr::new("copy")).unwrap();
        fs::rename(guest.path().join("copy"), guest.path().join("moved")).unwrap();
        symlink(&secret, guest.path().join("copy")).unwrap();
        assert!(staged.open_file(OsStr::new("key")).is_err());
        assert!(guest.subfolder(OsStr::new("copy")).is_err());
        let notes = copy(&guest, &host, "copy").unwrap();
        assert_eq!(notes.absolute_links, [Path::new("copy")]);

        // Write: what a copied link leads to is not written to.
        assert!(host.descend(Path::new("copy/below")).is_err());
        fs::write(guest.path().join("key"), "guest").unwrap();
        symlink(secret.join("key"), host.path().join("key")).unwrap();
        copy(&guest, &host, "key").unwrap();
        assert_eq!(fs::read_to_string(secret.join("key")).unwrap(), "secret");
        assert_eq!(
            fs::read_to_string(host.path().join("key")).unwrap(),
            "guest"
        );

        // Remove: the link goes, not what it leads to.
        host.remove(OsStr::new("copy")).unwrap();
        assert!(secret.join("key").exists() && !host.path().join("copy").exists());
    }

    #[test]
    fn paths_stay_below_the_folder() {
        let place = tempfile::tempdir().unwrap();
        let (_, host) = folders(&place);
        for path in ["../x", "/etc", "a/../../x"] {
            assert!(host.descend(Path::new(path)).is_err(), "{path}");
        }
        assert!(host.descend(Path::new("./a/b")).is_ok());
        assert!(host.path().join("a/b").is_dir());
    }
}
