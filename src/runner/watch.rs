//! Runs tests again whenever something that they are made of changes.

use std::collections::BTreeSet;
use std::path::PathBuf;

use tokio::sync::mpsc;

use super::error::RunnerError;
use super::files::Changes;
use super::frontend::Frontend;
use super::interrupts::Interrupts;
use super::reports::announce;
use super::request::RunRequest;
use super::run::run;
use crate::model::event::Event;
use crate::nix_cli;
use crate::script_modules::modules_beside;
use crate::session::Interrupt;

/// Runs the tests of `request` now and after each change, until the user
/// interrupts.
///
/// # Errors
/// Returns an error if there is no request, or its files cannot be watched. Errors of a run are shown, and the next
/// change starts another one.
pub async fn watch<E: From<RunnerError>>(
    request: impl Fn() -> Result<RunRequest, E>,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<(), E> {
    loop {
        let request = request()?;
        // Before the run, so that nothing is missed that changes meanwhile.
        let mut files = BTreeSet::new();
        for selection in &request.selections {
            files.extend(nix_cli::imports(&selection.evaluation).map_err(RunnerError::from)?);
        }
        let modules: BTreeSet<PathBuf> =
            files.iter().flat_map(|file| modules_beside(file)).collect();
        files.extend(modules);
        files.extend(request.project.config.file.clone());
        let count = files.len();
        let mut changes = Changes::of(files)?;
        let mut end = Box::pin(run_once(&request, &mut changes, frontend, interrupts)).await;
        if end == RunEnd::Own {
            announce(frontend, Event::Watching { files: count })?;
            end = tokio::select! {
                () = changes.next() => RunEnd::Outdated,
                _ = interrupts.recv() => RunEnd::Leaving,
            };
        }
        if end == RunEnd::Leaving {
            return Ok(());
        }
        announce(frontend, Event::Changed)?;
    }
}

/// Runs the tests, until a file changes or the user interrupts.
async fn run_once(
    request: &RunRequest,
    changes: &mut Changes,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> RunEnd {
    let (interrupt, mut inner) = mpsc::unbounded_channel();
    let run = run(request, frontend, &mut inner);
    tokio::pin!(run);
    let mut end = RunEnd::Own;
    loop {
        tokio::select! {
            result = &mut run => {
                if let Err(error) = result {
                    frontend.show_error(&error);
                }
                return end;
            }
            Some(outer) = interrupts.recv() => {
                end = RunEnd::Leaving;
                let _ = interrupt.send(outer);
            }
            () = changes.next(), if end == RunEnd::Own => {
                end = RunEnd::Outdated;
                let _ = interrupt.send(Interrupt::CtrlC);
            }
        }
    }
}

/// Why a run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunEnd {
    Own,
    /// Something has changed meanwhile.
    Outdated,
    /// The user interrupts.
    Leaving,
}
