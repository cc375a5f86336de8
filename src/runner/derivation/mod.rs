//! Has Nix run tests as builds, wherever its builders are.

mod at_once;
mod check;

use std::path::{Path, PathBuf, absolute};

use self::at_once::run_at_once;
use self::check::{BuildState, CheckDisplay, FoundCheck, run_one};
use super::ends::Ends;
use super::error::RunnerError;
use super::evaluation::{EvalProcesses, FoundTest, evaluate_all};
use super::frontend::Frontend;
use super::interrupts::Interrupts;
use super::planned::not_run;
use super::reporting::{Shown, announce, announce_report, start};
use super::request::{Builders, RunRequest, TestSelection};
use super::run_reports::remember;
use super::survey::survey;
use crate::folders::private_temporary_folder;
use crate::guest;
use crate::model::outcome::RunResults;
use crate::nix_cli::{self, CheckOptions, Evaluation, NamedDerivation};
use crate::report::write_reports;

/// Where Nix keeps everything.
const STORE: &str = "/nix/store";

/// Runs the tests of a request as builds; returns how they have ended.
pub(super) async fn run(
    request: &RunRequest,
    builders: Builders,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<RunResults, RunnerError> {
    let processes = EvalProcesses::new(request.evaluation);
    let work = find(request, builders, processes);
    let tests = tokio::select! {
        tests = work => tests?,
        _ = interrupts.recv() => return Ok(Ends::interrupted(frontend)),
    };
    let count = tests.len();
    let mut found = Vec::new();
    let mut ends = Ends::new(frontend, count, request.max_fail);
    for FoundTest {
        selection,
        label,
        names,
        test,
    } in tests
    {
        match test {
            Ok(check) => found.push(FoundCheck {
                request,
                selection,
                label,
                names,
                check,
            }),
            Err(error) => {
                let end = not_run(request, selection, &label, names.as_ref(), error);
                if ends.add(end)?.is_break() {
                    return Ok(ends.finish());
                }
            }
        }
    }
    if let ([only], 1) = (found.as_slice(), count) {
        let folder = request.output.of_one(&only.check.name);
        let display = CheckDisplay {
            start: &|output| start(frontend.display(), Some(output)),
            show: &|event| announce(frontend, event),
        };
        let end = run_one(only, BuildState::Unknown, &folder, &display, interrupts).await;
        let _ = ends.add(only.end(end, Path::new("")))?;
        let results = ends.finish();
        remember(frontend, &results);
        let folder =
            absolute(&folder).map_err(RunnerError::host("cannot tell where the output goes"))?;
        let path = write_reports(&folder, &results, &request.project.history)?;
        announce_report(frontend, path, Shown::All, interrupts).await?;
        frontend.annotate(&folder, &results);
        return Ok(results);
    }
    run_at_once(request, &found, ends, frontend, interrupts).await
}

/// Finds the derivations that run the tests of a request.
async fn find(
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
    Ok(evaluate_all(named, processes, &evaluate).await)
}

/// The store path that this program was started from, if it is in the store.
fn own_store_path() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let name = program.strip_prefix(STORE).ok()?.iter().next()?;
    Some(Path::new(STORE).join(name))
}
