//! Has Nix run tests as builds, wherever its builders are.

mod at_once;
mod check;

use std::path::{Path, PathBuf};

use self::at_once::run_at_once;
use self::check::{BuildState, CheckDisplay, FoundCheck, run_one};
use super::checked_test::not_run;
use super::ends::{Ends, TestEnd};
use super::error::RunnerError;
use super::evaluation::{EvalProcesses, FoundTest, evaluate_all};
use super::frontend::Frontend;
use super::interrupts::Interrupts;
use super::reports::of_one::OnlyReport;
use super::reports::{Shown, announce, start};
use super::request::{Builders, RunRequest, TestSelection};
use super::survey::survey;
use crate::folders::private_temporary_folder;
use crate::guest;
use crate::model::outcome::RunResults;
use crate::nix_cli::{self, CheckOptions, Evaluation, NamedDerivation};

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
    if let [_] = tests.as_slice() {
        return run_alone(request, tests, frontend, interrupts).await;
    }
    let mut found = Vec::new();
    let mut ended = Vec::new();
    for test in tests {
        match found_check(request, test) {
            Ok(check) => found.push(check),
            Err(end) => ended.push(*end),
        }
    }
    run_at_once(request, ended, &found, frontend, interrupts).await
}

/// Runs the only test.
async fn run_alone(
    request: &RunRequest,
    tests: Vec<FoundTest<'_, NamedDerivation>>,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<RunResults, RunnerError> {
    let mut ends = Ends::new(frontend, tests.len(), None);
    let name = tests.first().map(|test| test.name().to_owned());
    let name = name.unwrap_or_default();
    let folder = request.output.of_one(&name);
    let mut ended = Ok(Shown::All);
    for test in tests {
        let end = match found_check(request, test) {
            Ok(check) => {
                if let Some(warning) = check.warning() {
                    announce(frontend, warning)?;
                }
                let display = CheckDisplay {
                    start: &|output| start(frontend.display(), Some(output)),
                    show: &|event| announce(frontend, event),
                };
                let end = run_one(&check, BuildState::Unknown, &folder, &display, interrupts).await;
                check.end(end, Path::new(""))
            }
            Err(end) => *end,
        };
        ended = ends.add(end).map(|_| Shown::All);
    }
    let reports = OnlyReport::new(request, &folder, &name)?;
    reports
        .conclude(ended, ends.finish(), frontend, interrupts)
        .await
}

fn found_check<'a>(
    request: &'a RunRequest,
    found: FoundTest<'a, NamedDerivation>,
) -> Result<FoundCheck<'a>, Box<TestEnd>> {
    let FoundTest {
        selection,
        label,
        names,
        test,
    } = found;
    match test {
        Ok(check) => Ok(FoundCheck {
            request,
            selection,
            label,
            names,
            check,
        }),
        Err(error) => Err(Box::new(not_run(request, selection, &label, &names, error))),
    }
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
    Ok(evaluate_all(named, processes, project, &evaluate).await)
}

/// The store path that this program was started from, if it is in the store.
fn own_store_path() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let name = program.strip_prefix(STORE).ok()?.iter().next()?;
    Some(Path::new(STORE).join(name))
}
