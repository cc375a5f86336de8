//! `snowglobe watch`: runs a file's tests again whenever something that they are made of changes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use super::error::{Failed, code, report};
use super::run::RunCommand;
use super::run_options::{block_on, interrupts};
use super::source::Prepared;
use crate::event::Event;
use crate::nix_cli;
use crate::session::Interrupt;

/// How long nothing more must have changed: editors write in steps.
const QUIET: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub struct WatchCommand {
    #[command(flatten)]
    run: RunCommand,
}

impl WatchCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        block_on(self.watch())
    }

    async fn watch(&self) -> Result<ExitCode, Failed> {
        let mut interrupts = interrupts()?;
        loop {
            let prepared = self.run.prepare()?;
            // Before the run, so that nothing is missed that changes meanwhile.
            let files = nix_cli::imports(&prepared.evaluation)?;
            let count = files.len();
            let mut changes = Changes::of(files)?;
            let mut end = self.run_once(prepared, &mut changes, &mut interrupts).await;
            if end == End::Own {
                self.run.announce(Event::Watching { files: count })?;
                end = tokio::select! {
                    () = changes.next() => End::Outdated,
                    _ = interrupts.recv() => End::Leaving,
                };
            }
            if end == End::Leaving {
                return Ok(ExitCode::from(code::INTERRUPTED));
            }
            self.run.announce(Event::Changed)?;
        }
    }

    /// Runs the tests, until a file changes or the user interrupts.
    async fn run_once(
        &self,
        prepared: Prepared,
        changes: &mut Changes,
        interrupts: &mut mpsc::UnboundedReceiver<Interrupt>,
    ) -> End {
        let (interrupt, mut inner) = mpsc::unbounded_channel();
        let run = self.run.run_all(prepared, &mut inner);
        tokio::pin!(run);
        let mut end = End::Own;
        loop {
            tokio::select! {
                result = &mut run => {
                    if let Err(failed) = result {
                        report(&failed);
                    }
                    return end;
                }
                Some(outer) = interrupts.recv() => {
                    end = End::Leaving;
                    let _ = interrupt.send(outer);
                }
                () = changes.next(), if end == End::Own => {
                    end = End::Outdated;
                    let _ = interrupt.send(Interrupt::CtrlC);
                }
            }
        }
    }
}

/// Why a run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Own,
    /// Something has changed meanwhile.
    Outdated,
    /// The user interrupts.
    Leaving,
}

/// Reports changes to some files. Their folders are what is watched, as
/// editors put new files in the place of old ones.
struct Changes {
    changed: mpsc::UnboundedReceiver<()>,
    _watcher: notify::RecommendedWatcher,
}

impl Changes {
    fn of(files: BTreeSet<PathBuf>) -> Result<Self, Failed> {
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
            _watcher: watcher,
        })
    }

    /// Waits for a change, and until there is quiet after it.
    async fn next(&mut self) {
        if self.changed.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        while tokio::time::timeout(QUIET, self.changed.recv())
            .await
            .is_ok()
        {}
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

fn unwatchable(error: notify::Error) -> Failed {
    Failed::host("cannot watch the test's files")(std::io::Error::other(error))
}

#[cfg(test)]
mod tests {
    use super::*;

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
