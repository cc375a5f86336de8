//! Reports when one of some files changes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use super::error::RunnerError;

/// How long nothing more must have changed: editors write in steps.
const QUIET: Duration = Duration::from_millis(200);

/// Reports changes to some files. Their folders are what is watched, as
/// editors put new files in the place of old ones.
pub(super) struct Changes {
    changed: mpsc::UnboundedReceiver<()>,
    /// Whether there was one, and there may be more of it.
    pending: bool,
    _watcher: notify::RecommendedWatcher,
}

impl Changes {
    pub fn of(files: BTreeSet<PathBuf>) -> Result<Self, RunnerError> {
        let folders: BTreeSet<PathBuf> = files
            .iter()
            .map(|path| {
                if path.is_dir() {
                    path.as_path()
                } else {
                    parent(path)
                }
            })
            .filter(|folder| folder.is_dir())
            .map(Path::to_owned)
            .collect();
        let (sender, changed) = mpsc::unbounded_channel();
        let tell = move |event: notify::Result<notify::Event>| {
            let concerns = event.is_ok_and(|event| {
                !matches!(event.kind, EventKind::Access(_))
                    && event.paths.iter().any(|path| is_meant(&files, path))
            });
            if concerns {
                let _ = sender.send(());
            }
        };
        let mut watcher = notify::recommended_watcher(tell).map_err(unwatchable)?;
        for folder in folders {
            watcher
                .watch(&folder, RecursiveMode::NonRecursive)
                .map_err(unwatchable)?;
        }
        Ok(Self {
            changed,
            pending: false,
            _watcher: watcher,
        })
    }

    /// Waits for a change, and until there is quiet after it. If the caller stops waiting in between, the change is
    /// still the next one.
    pub async fn next(&mut self) {
        if !self.pending {
            if self.changed.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            self.pending = true;
        }
        while let Ok(Some(())) = tokio::time::timeout(QUIET, self.changed.recv()).await {}
        self.pending = false;
    }
}

/// Whether it is one of the files, or in one of the folders and no output of a run.
fn is_meant(files: &BTreeSet<PathBuf>, path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_output = name.starts_with("result") || name.starts_with('.');
    files.contains(path) || (!is_output && files.contains(parent(path)))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn unwatchable(error: notify::Error) -> RunnerError {
    RunnerError::host("cannot watch the test's files")(std::io::Error::other(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_not_lost_with_who_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.nix");
        std::fs::write(&file, "1").unwrap();
        let mut changes = Changes::of(BTreeSet::from([file.clone()])).unwrap();
        std::fs::write(&file, "2").unwrap();
        // Ends while it waits for quiet.
        let early = tokio::time::timeout(QUIET / 2, changes.next()).await;
        assert!(early.is_err());
        changes.next().await;
    }

    #[test]
    fn outputs_are_no_changes() {
        let files = BTreeSet::from(["/t/a.nix", "/t/data"].map(PathBuf::from));
        for (path, meant) in [
            ("/t/a.nix", true),
            ("/t/b.nix", false),
            ("/t/data/x", true),
            ("/t/data/result-x", false),
            ("/t/data/.x.swp", false),
        ] {
            assert_eq!(is_meant(&files, Path::new(path)), meant, "{path}");
        }
    }
}
