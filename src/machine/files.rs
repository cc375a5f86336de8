//! Files between host and guest, through the folder that all guests share.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use walkdir::WalkDir;

use super::commands::quote;
use super::{Machine, MachineError};
use crate::event::Event;
use crate::qemu::Expect;

/// Where guests mount the shared folder.
pub(super) const SHARED_IN_GUEST: &str = "/tmp/shared";

/// Mounts it again (as in nix-lib's first stage).
pub(super) fn mount() -> String {
    format!("mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 shared {SHARED_IN_GUEST}")
}

impl Machine {
    /// Copies a file or folder of the host into the guest.
    ///
    /// # Errors
    /// When it cannot be read, and as for [`Machine::execute`].
    pub async fn copy_from_host(
        self: &Arc<Self>,
        source: &Path,
        target: &str,
    ) -> Result<(), MachineError> {
        let text = format!("copying {} to {target}", source.display());
        self.step(text, async {
            let exchange = self.exchange()?;
            let name = name_of(source).map_err(|error| at(source, error))?;
            let staged = exchange.path().join(&name);
            copy(source, &staged).map_err(|error| at(source, error))?;
            let command = format!(
                "{have} && mkdir -p -- \"$(dirname -- {target})\" && cp -r -- {staged} {target}",
                have = have(&exchange),
                target = quote(target),
                staged = quote(&in_guest(&exchange, &name)),
            );
            self.must(
                &command,
                &format!("{} could not be copied to {target}", source.display()),
            )
            .await
        })
        .await
    }

    /// Copies a file or folder of the guest into the output folder, below `target`.
    ///
    /// # Errors
    /// When it is not there, and as for [`Machine::execute`].
    pub async fn copy_from_machine(
        self: &Arc<Self>,
        source: &str,
        target: &str,
    ) -> Result<(), MachineError> {
        self.step(format!("copying {source} to the output folder"), async {
            let folder = self.in_output(target)?;
            let exchange = self.exchange()?;
            let name = name_of(Path::new(source)).map_err(|error| at(Path::new(source), error))?;
            let command = format!(
                "{} && cp -r -- {} {}",
                have(&exchange),
                quote(source),
                quote(&in_guest(&exchange, &name))
            );
            self.must(
                &command,
                &format!("{source} could not be copied from {}", self.name()),
            )
            .await?;
            fs::create_dir_all(&folder).map_err(|error| at(&folder, error))?;
            let saved = folder.join(&name);
            copy(&exchange.path().join(&name), &saved).map_err(|error| at(&saved, error))?;
            self.surroundings
                .events
                .tell(Event::FileSaved { path: saved });
            Ok(())
        })
        .await
    }

    /// A path below the output folder, whatever a script asks for.
    pub(super) fn in_output(&self, name: &str) -> Result<PathBuf, MachineError> {
        let relative = Path::new(name);
        let inside = relative
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if inside {
            Ok(self.surroundings.output_folder.join(relative))
        } else {
            Err(self.unable(format!(
                "cannot save to {name}: that is not below the output folder"
            )))
        }
    }

    /// A fresh folder below the shared one.
    fn exchange(&self) -> Result<tempfile::TempDir, MachineError> {
        let shared = &self.surroundings.shared_folder;
        tempfile::tempdir_in(shared).map_err(|error| at(shared, error))
    }

    async fn must(self: &Arc<Self>, command: &str, message: &str) -> Result<(), MachineError> {
        let outcome = self
            .execute(&format!("({command}) 2>&1"), Expect::OutputAndStatus, None)
            .await?;
        if outcome.status == Some(0) {
            return Ok(());
        }
        let output = String::from_utf8_lossy(&outcome.output);
        Err(MachineError::assertion(format!(
            "{message}: {}",
            output.trim()
        )))
    }
}

/// Stands for a file or folder with all that is in it.
pub(super) fn fingerprint(source: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    for entry in WalkDir::new(source)
        .follow_root_links(true)
        .sort_by_file_name()
    {
        let Ok(entry) = entry else {
            "unreadable".hash(&mut hasher);
            continue;
        };
        entry.path().hash(&mut hasher);
        if let Ok(metadata) = entry.metadata() {
            metadata.permissions().mode().hash(&mut hasher);
        }
        if entry.path_is_symlink() {
            fs::read_link(entry.path()).ok().hash(&mut hasher);
        } else if entry.file_type().is_file() {
            hash_content(entry.path(), &mut hasher);
        }
    }
    hasher.finish()
}

fn hash_content(path: &Path, hasher: &mut DefaultHasher) {
    let mut buffer = vec![0; 1 << 16];
    if let Ok(mut file) = fs::File::open(path) {
        while let Ok(length @ 1..) = file.read(&mut buffer) {
            hasher.write(&buffer[..length]);
        }
    }
}

/// Sees to it that the guest has the folder: checkpoints unmount it.
fn have(exchange: &tempfile::TempDir) -> String {
    let folder = in_guest(exchange, "");
    format!("{{ [ -e {} ] || {}; }}", quote(&folder), mount())
}

fn in_guest(exchange: &tempfile::TempDir, name: &str) -> String {
    let folder = exchange.path().file_name().unwrap_or_default();
    format!("{SHARED_IN_GUEST}/{}/{name}", folder.to_string_lossy())
}

fn name_of(path: &Path) -> io::Result<String> {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a path without a last name"))
}

pub(super) fn at(path: &Path, source: io::Error) -> MachineError {
    MachineError::File {
        path: path.to_owned(),
        source,
    }
}

/// Copies a tree: links as links, modes as they are.
fn copy(source: &Path, target: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(source)?.file_type();
    if kind.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(source)?, target)
    } else if kind.is_dir() {
        fs::create_dir_all(target)?;
        for entry in fs::read_dir(source)? {
            let entry = entry?;
            copy(&entry.path(), &target.join(entry.file_name()))?;
        }
        fs::set_permissions(target, fs::metadata(source)?.permissions())
    } else {
        fs::copy(source, target).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn trees_keep_links_and_modes() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("program"), "x").unwrap();
        fs::set_permissions(source.join("program"), fs::Permissions::from_mode(0o750)).unwrap();
        symlink("program", source.join("link")).unwrap();
        let target = folder.path().join("target");
        copy(&source, &target).unwrap();
        assert_eq!(
            fs::read_link(target.join("link")).unwrap(),
            Path::new("program")
        );
        let mode = fs::metadata(target.join("program"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o750);
    }
}
