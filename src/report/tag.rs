//! The mark of an output folder: a file with a fixed signature, and a list of the files that runs have written there.
//! Only files of the list are ever removed.
//!
//! A signature alone would not do. `snowglobe driver` writes into the folder that it is started in, among files of the
//! user, as nixpkgs' driver does; and users put notes beside a report. The list tells these files from those of a run.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use walkdir::{DirEntry, WalkDir};

use super::output_error::OutputError;
use crate::bounded_file::read_text;
use crate::confined::OpenFolder;
use crate::output_folder::{CONSOLE, TAG, WRITTEN, is_attempt, is_unfinished, write_whole};

/// The first line of the file; nothing else has it.
const SIGNATURE: &str = "Signature: 5f1d0c7c9b6e4a0f8b1e2d3c4a596877";

const ABOUT: &str = "# This is the output folder of a Snowglobe run. The next run that writes here removes the\n\
                     # files that are listed below, and no others.\n";

/// Start of the line that names the run that uses the folder.
const USED_BY: &str = "# used by ";

/// Other content that a folder of a run may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupancy {
    /// Nothing.
    Alone,
    /// Anything, as for nixpkgs' driver, which writes to the current folder.
    Shared,
}

/// The mark of a folder that this run uses, until it is dropped.
#[derive(Debug)]
pub struct Tag {
    folder: PathBuf,
    occupancy: Occupancy,
    user: String,
    listed: BTreeSet<PathBuf>,
    _lock: Flock<File>,
}

impl Tag {
    /// Takes the folder for a run of `test`, and removes what earlier runs have
    /// written there.
    ///
    /// # Errors
    /// Returns an error if another run uses it, it holds what no run has written, or it cannot be written.
    pub fn claim(folder: &Path, test: &str, occupancy: Occupancy) -> Result<Self, OutputError> {
        let unwritable = |source| OutputError::Unwritable {
            path: folder.to_owned(),
            source,
        };
        let file = File::open(folder).map_err(unwritable)?;
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => {
                return Err(OutputError::Busy {
                    folder: folder.to_owned(),
                    user: user_of(folder),
                });
            }
            Err((_, error)) => return Err(unwritable(error.into())),
        };
        let mut earlier = read(folder);
        if let Some(listed) = &mut earlier {
            let names = OpenFolder::open(folder).and_then(|folder| folder.names());
            let names = names.map_err(unwritable)?.into_iter();
            listed.extend(names.filter(|name| is_unfinished(name)).map(PathBuf::from));
        }
        if let Some(foreign) = foreign(folder, earlier.as_ref(), occupancy).map_err(unwritable)? {
            return Err(OutputError::Foreign {
                folder: folder.to_owned(),
                foreign,
            });
        }
        let mut tag = Self {
            folder: folder.to_owned(),
            occupancy,
            user: format!("process {} (test {test})", std::process::id()),
            listed: earlier.unwrap_or_default(),
            _lock: lock,
        };
        tag.write().map_err(unwritable)?;
        discard_attempts(folder)?;
        remove(folder, &tag.listed).map_err(unwritable)?;
        tag.listed = WRITTEN.map(PathBuf::from).into();
        tag.listed.insert(PathBuf::from(CONSOLE));
        tag.write().map_err(unwritable)?;
        Ok(tag)
    }

    /// Lists something that a run is about to write or has written, with all
    /// that is in it.
    ///
    /// # Errors
    /// Returns an error if the list cannot be written.
    pub fn list(&mut self, path: &Path) -> io::Result<()> {
        let Ok(relative) = path.strip_prefix(&self.folder) else {
            return Ok(());
        };
        let mut new: BTreeSet<PathBuf> = relative
            .ancestors()
            .filter(|part| !part.as_os_str().is_empty())
            .map(Path::to_owned)
            .collect();
        new.extend(entries(&self.folder, relative));
        self.add(new)
    }

    /// Lists all that is there: the run is over, and all of it is the run's.
    ///
    /// # Errors
    /// Returns an error if the list cannot be written.
    pub fn complete(&mut self) -> io::Result<()> {
        if self.occupancy == Occupancy::Shared {
            return Ok(());
        }
        let all = entries(&self.folder, Path::new("")).collect();
        self.add(all)
    }

    fn add(&mut self, paths: BTreeSet<PathBuf>) -> io::Result<()> {
        let before = self.listed.len();
        self.listed.extend(paths);
        if self.listed.len() == before {
            return Ok(());
        }
        self.write()
    }

    /// Written whole and then renamed: half a list would have later runs
    /// refuse the folder.
    fn write(&self) -> io::Result<()> {
        let mut text = format!("{SIGNATURE}\n{ABOUT}{USED_BY}{}\n", self.user);
        for path in &self.listed {
            text.push_str(&line_of(path)?);
            text.push('\n');
        }
        write_whole(&self.folder, TAG, text.as_bytes())
    }
}

/// A path as a line: names may hold line ends, and those from guests any bytes.
fn line_of(path: &Path) -> serde_json::Result<String> {
    match path.to_str() {
        Some(text) => serde_json::to_string(text),
        None => serde_json::to_string(path.as_os_str().as_bytes()),
    }
}

fn path_of(line: &str) -> Option<PathBuf> {
    if let Ok(text) = serde_json::from_str::<String>(line) {
        return Some(PathBuf::from(text));
    }
    let bytes: Vec<u8> = serde_json::from_str(line).ok()?;
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

/// Removes the folders of further attempts of an earlier run. What else is in one stays.
fn discard_attempts(folder: &Path) -> Result<(), OutputError> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    for name in names.filter(|name| is_attempt(name)) {
        let attempt = folder.join(name);
        let is_folder = fs::symlink_metadata(&attempt).is_ok_and(|it| it.is_dir());
        if is_folder && is_marked(&attempt) {
            // It removes what is listed.
            drop(Tag::claim(&attempt, "", Occupancy::Shared)?);
            let _ = fs::remove_file(attempt.join(TAG));
            let _ = fs::remove_dir(attempt);
        }
    }
    Ok(())
}

/// Reads the files that a folder lists; `None` if the folder has no mark.
fn read(folder: &Path) -> Option<BTreeSet<PathBuf>> {
    let text = read_text(&folder.join(TAG), MOST_BYTES).ok()?;
    let mut lines = text.lines();
    (lines.next()? == SIGNATURE).then(|| {
        lines
            .filter(|line| !line.starts_with('#'))
            .filter_map(path_of)
            .filter(|path| is_inside(path))
            .collect()
    })
}

/// The largest list of files that is read.
const MOST_BYTES: u64 = 64 << 20;

/// Whether it is an output folder.
fn is_marked(folder: &Path) -> bool {
    read_text(&folder.join(TAG), MOST_BYTES)
        .is_ok_and(|text| text.lines().next() == Some(SIGNATURE))
}

fn is_inside(path: &Path) -> bool {
    path.components()
        .all(|part| matches!(part, Component::Normal(_)))
}

/// Which run uses a folder.
fn user_of(folder: &Path) -> String {
    let text = read_text(&folder.join(TAG), MOST_BYTES).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(USED_BY))
        .unwrap_or("another process")
        .to_owned()
}

/// The paths below `relative` that can be read, relative to the folder. Links are not followed.
fn entries(folder: &Path, relative: &Path) -> impl Iterator<Item = PathBuf> {
    walk(folder, relative).filter_map(Result::ok)
}

fn walk(folder: &Path, relative: &Path) -> impl Iterator<Item = walkdir::Result<PathBuf>> {
    let root = folder.to_owned();
    let tag = folder.join(TAG);
    // What is in the folders of other tests is theirs.
    let is_of_others = |entry: &DirEntry| {
        entry.depth() > 0 && entry.file_type().is_dir() && is_marked(entry.path())
    };
    WalkDir::new(folder.join(relative))
        .min_depth(1)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(move |entry| !is_of_others(entry))
        .filter(move |entry| !entry.as_ref().is_ok_and(|entry| entry.path() == tag))
        .map(move |entry| {
            let path = entry?.into_path();
            Ok(path.strip_prefix(&root).map(Path::to_owned).unwrap_or(path))
        })
}

/// Something that no run has written, and that would be in the way.
fn foreign(
    folder: &Path,
    listed: Option<&BTreeSet<PathBuf>>,
    occupancy: Occupancy,
) -> io::Result<Option<PathBuf>> {
    if listed.is_none() && fs::symlink_metadata(folder.join(TAG)).is_ok() {
        return Ok(Some(PathBuf::from(TAG)));
    }
    let is_foreign = |path: &PathBuf| !listed.is_some_and(|listed| listed.contains(path));
    match occupancy {
        Occupancy::Alone => {
            // What cannot be read cannot be removed, either.
            let all: walkdir::Result<Vec<PathBuf>> = walk(folder, Path::new("")).collect();
            Ok(all?.into_iter().find(is_foreign))
        }
        Occupancy::Shared => {
            let own = WRITTEN.map(PathBuf::from);
            let mut wanted = own.into_iter().chain(entries(folder, Path::new(CONSOLE)));
            Ok(wanted
                .find(|path| fs::symlink_metadata(folder.join(path)).is_ok() && is_foreign(path)))
        }
    }
}

/// Removes what is listed: files, and folders that are empty then.
fn remove(folder: &Path, listed: &BTreeSet<PathBuf>) -> io::Result<()> {
    // What is in a folder comes after the folder.
    for path in listed.iter().rev() {
        let parent = path.parent().unwrap_or(Path::new(""));
        let Some(name) = path.file_name() else {
            continue;
        };
        let at = folder.join(parent);
        match fs::symlink_metadata(folder.join(path)) {
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {}
                _ => return Err(error),
            },
            Ok(metadata) if metadata.is_dir() => match fs::remove_dir(folder.join(path)) {
                // It is shared with files that are not a run's.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                other => other?,
            },
            Ok(_) => OpenFolder::open(&at)?.remove(name)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::output_folder::EVENTS;

    fn claim(folder: &Path) -> Result<Tag, OutputError> {
        Tag::claim(folder, "t", Occupancy::Alone)
    }

    fn foreign_file(result: Result<Tag, OutputError>) -> PathBuf {
        match result {
            Err(OutputError::Foreign { foreign, .. }) => foreign,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_what_runs_have_written_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path();
        let mut tag = claim(folder).unwrap();
        fs::create_dir(folder.join("tree")).unwrap();
        fs::write(folder.join("tree/a\nb"), "x").unwrap();
        symlink("/etc", folder.join("tree/link")).unwrap();
        let no_text = OsString::from_vec(b"tree/inv\xffalid".to_vec());
        fs::write(folder.join(no_text), "x").unwrap();
        tag.list(&folder.join("tree")).unwrap();
        drop(tag);
        let mut tag = claim(folder).unwrap();
        assert!(!folder.join("tree").exists());
        // A script has saved it by itself.
        fs::write(folder.join("by-script"), "x").unwrap();
        tag.complete().unwrap();
        drop(tag);
        drop(claim(folder).unwrap());
        assert!(!folder.join("by-script").exists());

        fs::write(folder.join("thesis.txt"), "x").unwrap();
        assert_eq!(foreign_file(claim(folder)), Path::new("thesis.txt"));
        assert!(folder.join("thesis.txt").exists());
    }

    #[test]
    fn nothing_is_removed_without_the_mark_or_beyond_the_folder() {
        let place = tempfile::tempdir().unwrap();
        let (folder, outside) = (place.path().join("out"), place.path().join("outside"));
        fs::create_dir(&folder).unwrap();
        fs::write(&outside, "x").unwrap();
        fs::write(folder.join(EVENTS), "mine").unwrap();
        assert_eq!(foreign_file(claim(&folder)), Path::new(EVENTS));
        let list = format!("{SIGNATURE}\n\"../outside\"\n\"{EVENTS}\"\n");
        fs::write(folder.join(TAG), list.replace("Signature", "Signed")).unwrap();
        assert_eq!(foreign_file(claim(&folder)), Path::new(TAG));
        fs::write(folder.join(TAG), list).unwrap();
        drop(claim(&folder).unwrap());
        assert!(outside.exists() && !folder.join(EVENTS).exists());
    }

    #[test]
    fn further_attempts_go_with_the_next_run() {
        let place = tempfile::tempdir().unwrap();
        let attempt = place.path().join("attempt-2");
        let named = place.path().join("attempt-x");
        for folder in [&attempt, &named] {
            fs::create_dir(folder).unwrap();
            drop(claim(folder).unwrap());
        }
        drop(claim(place.path()).unwrap());
        assert!(!attempt.exists() && named.exists());
    }

    #[test]
    fn the_folders_of_tests_in_it_are_not_in_the_way() {
        let place = tempfile::tempdir().unwrap();
        let inner = place.path().join("a");
        fs::create_dir(&inner).unwrap();
        drop(claim(&inner).unwrap());
        fs::write(inner.join("screen.png"), "x").unwrap();
        let mut tag = claim(place.path()).unwrap();
        tag.complete().unwrap();
        drop(tag);
        drop(claim(place.path()).unwrap());
        assert!(inner.join("screen.png").exists());
        fs::remove_file(inner.join(TAG)).unwrap();
        assert_eq!(foreign_file(claim(place.path())), Path::new("a"));
    }

    #[test]
    fn a_folder_is_one_runs_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let first = claim(place.path()).unwrap();
        let error = claim(place.path()).unwrap_err().to_string();
        let user = format!("is in use by process {} (test t)", std::process::id());
        assert!(error.contains(&user), "{error}");
        drop(first);
        assert!(claim(place.path()).is_ok());
    }
}
