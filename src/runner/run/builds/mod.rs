//! Has Nix run tests as builds, wherever its builders are.

mod check;
mod nix_builds;

use std::path::{Path, PathBuf};

pub(super) use self::nix_builds::NixBuilds;
use crate::folders::private_temporary_folder;
use crate::guest;
use crate::nix_cli::{self, CheckOptions, Evaluation, NamedDerivation};
use crate::runner::error::RunnerError;
use crate::runner::evaluation::{EvalProcesses, evaluate_all};
use crate::runner::found_test::FoundTest;
use crate::runner::request::{Builders, RunRequest, TestSelection};
use crate::runner::survey::survey;

/// Where Nix keeps everything.
const STORE: &str = "/nix/store";

/// Finds the derivations that run the tests of a request.
pub(super) async fn find_builds(
    request: &RunRequest,
    builders: Builders,
    processes: EvalProcesses,
) -> Result<Vec<FoundTest<'_, NamedDerivation>>, RunnerError> {
    let RunRequest {
        selections,
        filter,
        project,
        ..
    } = request;
    let named = survey(selections, filter, project, processes.count).await?;
    let program = own_store_path();
    let work =
        private_temporary_folder().map_err(RunnerError::host("cannot make a temporary folder"))?;
    // The builds need the program, too.
    let mut index = None;
    let needs_index = |it: &&TestSelection| it.evaluation.guest_index.is_some();
    if let (None, Some(selection)) = (&program, selections.iter().find(needs_index)) {
        let pinned = work.path().join("guest-index.json");
        guest::pin(&selection.nix, &pinned)?;
        index = Some(pinned);
    }
    let options = CheckOptions {
        program,
        allow_emulation: builders == Builders::Any,
    };
    let evaluate = async |selection: &TestSelection, evaluation: &Evaluation| {
        let mut evaluation = evaluation.clone();
        if index.is_some() && evaluation.guest_index.is_some() {
            evaluation.guest_index.clone_from(&index);
        }
        let TestSelection { nix, library, .. } = selection;
        Ok(nix_cli::checks(nix, library, &evaluation, &options).await?)
    };
    Ok(evaluate_all(named, processes, project, &evaluate).await)
}

/// The store path that this program was started from, if it is in the store.
fn own_store_path() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let name = program.strip_prefix(STORE).ok()?.iter().next()?;
    Some(Path::new(STORE).join(name))
}
