//! Has Nix run tests as builds, wherever its builders are.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf, absolute};

use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::ends::{Ends, RunSummary, TestEnd};
use super::error::RunnerError;
use super::evaluation::{EvalProcesses, FoundTest, evaluate_in_batches};
use super::frontend::Frontend;
use super::interrupts::Interrupts;
use super::planned::{named, not_run};
use super::reporting::{Shown, announce, announce_report, no_thread, start, wait_until_shown};
use super::request::{Builders, RunRequest, TestSelection, file_name};
use super::survey::survey;
use crate::confined::{ModeBits, OpenFolder};
use crate::folders::private_temporary_folder;
use crate::guest;
use crate::model::event::{Event, Record, Verdict};
use crate::model::outcome::{Attempt, Outcome, TestResult};
use crate::nix_cli::{self, BuildError, CheckOptions, Evaluation, NamedDerivation, Nix};
use crate::output_folder::{EVENTS, TAG};
use crate::report::{Output, Reports, RunFolder, SharedDisplay, VERDICT_MARK, write_reports};

/// Where Nix keeps everything.
const STORE: &str = "/nix/store";

/// The whole log of a build that failed, in the output folder.
const LOG: &str = "build.log";

/// A test as the derivation that runs it.
struct FoundCheck<'a> {
    selection: &'a TestSelection,
    label: String,
    check: NamedDerivation,
}

impl FoundCheck<'_> {
    /// How its build has ended: the verdict of the test, if it came to one.
    fn end(&self, result: Result<CheckEnd, RunnerError>, folder: &Path) -> TestEnd {
        let mut end = match result {
            Err(error) => return not_run(self.selection, &self.label, error),
            Ok(end) => end_of_check(self.selection, &self.label, &end, folder),
        };
        end.result.attribute.clone_from(&self.check.attribute);
        end
    }
}

/// The verdict of a test that was run as a build.
struct CheckEnd {
    verdict: Verdict,
    duration_s: f64,
}

impl CheckEnd {
    const INTERRUPTED: Self = Self {
        verdict: Verdict::Interrupted,
        duration_s: 0.0,
    };
}

fn end_of_check(selection: &TestSelection, label: &str, end: &CheckEnd, folder: &Path) -> TestEnd {
    let attempt = Attempt {
        verdict: end.verdict,
        duration_s: end.duration_s,
        folder: folder.to_owned(),
    };
    let result = TestResult {
        outcome: Outcome::of_verdict(end.verdict),
        duration_s: end.duration_s,
        attempts: vec![attempt],
        ..named(selection, label, label)
    };
    TestEnd {
        result,
        error: None,
    }
}

/// Runs the tests of a request as builds; returns how they have ended.
pub(super) async fn run(
    request: &RunRequest,
    builders: Builders,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<RunSummary, RunnerError> {
    let processes = EvalProcesses::new(request.evaluation);
    let work = find(request, builders, processes);
    let tests = tokio::select! {
        tests = work => tests?,
        _ = interrupts.recv() => return Ok(RunSummary::interrupted(frontend)),
    };
    let count = tests.len();
    let mut found = Vec::new();
    let mut ends = Ends::new(frontend, count, request.max_fail);
    for FoundTest {
        selection,
        label,
        test,
    } in tests
    {
        match test {
            Ok(check) => found.push(FoundCheck {
                selection,
                label,
                check,
            }),
            Err(error) => {
                if ends.add(not_run(selection, &label, error))?.is_break() {
                    return Ok(ends.finish(None));
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
        let summary = ends.finish(None);
        let folder =
            absolute(&folder).map_err(RunnerError::host("cannot tell where the output goes"))?;
        let path = write_reports(&folder, &summary.results, &request.project.history)?;
        announce_report(frontend, path, Shown::All, interrupts).await?;
        return Ok(summary);
    }
    run_at_once(request, &found, ends, frontend, interrupts).await
}

/// Has Nix build the tests all at once: its builders take what they can. Each test is shown as its build ends.
async fn run_at_once(
    request: &RunRequest,
    found: &[FoundCheck<'_>],
    mut ends: Ends<'_>,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<RunSummary, RunnerError> {
    let run_folder = RunFolder::claim(&request.output.of_many())?;
    let (display, showing) =
        SharedDisplay::start(frontend.display_of_many()).map_err(no_thread())?;
    display.emit(None, Event::RunStarted { jobs: ends.count() });
    display.emit(
        None,
        Event::TestsFound {
            tests: ends.count(),
            expected_s: None,
        },
    );
    let ended = {
        let mut at_once = AtOnce {
            run_folder: run_folder.path(),
            display: &display,
            ends: &mut ends,
            left: found.iter().collect(),
        };
        at_once.run(interrupts).await
    };
    let written = ended.map(|()| {
        let summary = ends.finish(Some(run_folder.path()));
        display.emit(
            None,
            Event::RunFinished {
                results: Box::new(summary.results.clone()),
                output: run_folder.path().to_owned(),
            },
        );
        let written = run_folder.finish(&summary.results, &request.project.history);
        if let Ok(path) = &written {
            display.emit(None, Event::ReportWritten { path: path.clone() });
        }
        (summary, written)
    });
    drop(display);
    wait_until_shown(showing, interrupts).await?;
    let (summary, written) = written?;
    written?;
    Ok(summary)
}

/// Tests that Nix builds all at once.
struct AtOnce<'a, 'b> {
    run_folder: &'a Path,
    display: &'a SharedDisplay,
    ends: &'a mut Ends<'b>,
    /// Those that have not ended.
    left: Vec<&'a FoundCheck<'a>>,
}

impl AtOnce<'_, '_> {
    async fn run(&mut self, interrupts: &mut Interrupts) -> Result<(), RunnerError> {
        let Some(first) = self.left.first() else {
            return Ok(());
        };
        let nix = first.selection.nix.clone();
        let derivations: Vec<PathBuf> = self
            .left
            .iter()
            .map(|it| it.check.derivation.clone())
            .collect();
        let labels: HashMap<String, String> = self
            .left
            .iter()
            .map(|it| (it.check.derivation.display().to_string(), it.label.clone()))
            .collect();
        let (finished, mut ended) = mpsc::unbounded_channel();
        let display = self.display.clone();
        let emit = move |event: Event| {
            let label = derivation_of(&event).and_then(|name| labels.get(name));
            if let (Event::BuildFinished { derivation }, Some(_)) = (&event, label) {
                let _ = finished.send(PathBuf::from(derivation));
            }
            display.emit(label.map(String::as_str), event);
        };
        let build = nix_cli::realise_all(&nix, &derivations, &emit);
        tokio::pin!(build);
        loop {
            tokio::select! {
                result = &mut build => {
                    if let Err(error @ BuildError::NoNix(_)) = result {
                        return Err(error.into());
                    }
                    break;
                }
                Some(derivation) = ended.recv() => {
                    let place = self.left.iter().position(|it| it.check.derivation == derivation);
                    let Some(place) = place else { continue };
                    let Some(state) = state_of(&nix, &derivation)? else { continue };
                    let found = self.left.remove(place);
                    if self.take(found, state, interrupts).await?.is_break() {
                        return self.leave_out_the_rest();
                    }
                }
                _ = interrupts.recv() => {
                    let found = self.left.remove(0);
                    let end = found.end(Ok(CheckEnd::INTERRUPTED), Path::new(""));
                    let _ = self.add(found, end)?;
                    return self.leave_out_the_rest();
                }
            }
        }
        // Those that were built before, and those that need what did not build.
        while !self.left.is_empty() {
            let found = self.left.remove(0);
            let flow = self.take(found, BuildState::Unknown, interrupts).await?;
            if flow.is_break() {
                break;
            }
        }
        self.leave_out_the_rest()
    }

    /// The run ends before those that are left.
    fn leave_out_the_rest(&mut self) -> Result<(), RunnerError> {
        for found in std::mem::take(&mut self.left) {
            let mut result = named(found.selection, &found.label, &found.check.attribute);
            result.outcome = Outcome::LeftOut;
            let _ = self.add(
                found,
                TestEnd {
                    result,
                    error: None,
                },
            )?;
        }
        Ok(())
    }

    /// Reports a test whose build has ended.
    async fn take(
        &mut self,
        found: &FoundCheck<'_>,
        state: BuildState,
        interrupts: &mut Interrupts,
    ) -> Result<ControlFlow<()>, RunnerError> {
        let name = file_name(&found.label);
        let folder = self.run_folder.join(&name);
        let (shared, label) = (self.display, &found.label);
        let display = CheckDisplay {
            start: &|output| Reports::of_one(shared, label, Some(output)).map_err(no_thread()),
            show: &|event| {
                shared.emit(Some(label), event);
                Ok(())
            },
        };
        let end = run_one(found, state, &folder, &display, interrupts).await;
        let end = found.end(end, Path::new(&name));
        self.add(found, end)
    }

    fn add(
        &mut self,
        found: &FoundCheck<'_>,
        end: TestEnd,
    ) -> Result<ControlFlow<()>, RunnerError> {
        let flow = self.ends.add(end)?;
        if let Some(end) = self.ends.last() {
            let result = Box::new(end.result.clone());
            self.display
                .emit(Some(&found.label), Event::TestEnded { result });
        }
        Ok(flow)
    }
}

/// What is known of the build of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BuildState {
    /// Nix knows, or has to build it.
    Unknown,
    /// A moment ago; another build would take its time for nothing.
    Failed,
}

/// What came of a build that has just ended; None if that shows only later.
fn state_of(nix: &Nix, derivation: &Path) -> Result<Option<BuildState>, RunnerError> {
    if nix_cli::is_built(nix, derivation)? {
        return Ok(Some(BuildState::Unknown));
    }
    let log = nix_cli::build_log(nix, derivation)?;
    let has_failed = matches!(
        end_in_log(&log),
        Some(Event::TestFinished { verdict, .. }) if verdict != Verdict::Passed
    );
    Ok(has_failed.then_some(BuildState::Failed))
}

/// The derivation that an event of a build is about.
fn derivation_of(event: &Event) -> Option<&str> {
    match event {
        Event::BuildStarted { derivation }
        | Event::BuildLog { derivation, .. }
        | Event::BuildFinished { derivation } => Some(derivation),
        _ => None,
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
    let batches: Vec<_> = evaluate_in_batches(named, processes, &evaluate)
        .collect()
        .await;
    Ok(batches.into_iter().flatten().collect())
}

/// The store path that this program was started from, if it is in the store.
fn own_store_path() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let name = program.strip_prefix(STORE).ok()?.iter().next()?;
    Some(Path::new(STORE).join(name))
}

/// Where the events of one test go.
struct CheckDisplay<'a> {
    start: &'a dyn Fn(Output) -> Result<Reports, RunnerError>,
    /// After the reports have ended.
    show: &'a dyn Fn(Event) -> Result<(), RunnerError>,
}

/// Builds one test, or takes what is built, and brings its output folder here.
async fn run_one(
    found: &FoundCheck<'_>,
    state: BuildState,
    folder: &Path,
    display: &CheckDisplay<'_>,
    interrupts: &mut Interrupts,
) -> Result<CheckEnd, RunnerError> {
    let (nix, check) = (&found.selection.nix, &found.check);
    let output = Output::create(folder, &check.name)?;
    let folder = output.folder().to_owned();
    let root = folder.join("result");
    let reports = (display.start)(output)?;
    let emit = |event| reports.events.emit(event);
    let built = match state {
        BuildState::Failed => Some(Err(BuildError::Failed("the test has failed".to_owned()))),
        BuildState::Unknown => tokio::select! {
            built = nix_cli::realise(nix, &check.derivation, &root, &emit) => Some(built),
            _ = interrupts.recv() => None,
        },
    };
    let failed = match built {
        None => Some(Ok(CheckEnd::INTERRUPTED)),
        Some(Ok(())) => None,
        Some(Err(error @ BuildError::NoNix(_))) => Some(Err(error.into())),
        Some(Err(error)) => Some(failed(nix, &emit, check, &folder, error)),
    };
    let (output, showing) = reports
        .end()
        .map_err(RunnerError::host_at("cannot write", &folder))?;
    wait_until_shown(showing, interrupts).await?;
    let result = failed.unwrap_or_else(|| passed(display.show, &root, &folder));
    output.map_or(Ok(()), Output::finish)?;
    result
}

/// Brings the output folder of a build here, and shows how its test ended.
fn passed(
    show: &dyn Fn(Event) -> Result<(), RunnerError>,
    root: &Path,
    folder: &Path,
) -> Result<CheckEnd, RunnerError> {
    bring_back(root, folder).map_err(RunnerError::host_at("cannot copy to", folder))?;
    let events = folder.join(EVENTS);
    let end = last_end(&events).map_err(RunnerError::host_at("cannot read", &events))?;
    let end = end.ok_or_else(|| {
        RunnerError::host_at("cannot use", &events)(io::Error::other(
            "it does not hold the test's end",
        ))
    })?;
    let (end, event) = placed(end, folder);
    show(event)?;
    Ok(end)
}

/// Emits how the test of a failed build ended; a build that did not come to
/// its test has failed as a build.
fn failed(
    nix: &Nix,
    emit: &dyn Fn(Event),
    check: &NamedDerivation,
    folder: &Path,
    error: BuildError,
) -> Result<CheckEnd, RunnerError> {
    let log = nix_cli::build_log(nix, &check.derivation)?;
    // A build that Nix refuses has none.
    if !log.is_empty() {
        let path = folder.join(LOG);
        fs::write(&path, &log).map_err(RunnerError::host_at("cannot write", &path))?;
        emit(Event::FileSaved { path });
    }
    let Some(end) = end_in_log(&log) else {
        return Err(error.into());
    };
    let (end, event) = placed(end, folder);
    emit(event);
    Ok(end)
}

/// The end of a test as if it had run here.
fn placed(mut event: Event, folder: &Path) -> (CheckEnd, Event) {
    let mut end = CheckEnd {
        verdict: Verdict::Error,
        duration_s: 0.0,
    };
    if let Event::TestFinished {
        verdict,
        output,
        duration_s,
        ..
    } = &mut event
    {
        end.verdict = *verdict;
        end.duration_s = *duration_s;
        folder.clone_into(output);
    }
    (end, event)
}

/// The event of the test's end in a file of events.
fn last_end(events: &Path) -> io::Result<Option<Event>> {
    let mut end = None;
    for line in BufReader::new(fs::File::open(events)?).lines() {
        end = end_of(&line?).or(end);
    }
    Ok(end)
}

/// The event of the test's end in the log of a build.
fn end_in_log(log: &str) -> Option<Event> {
    let mut marked = log
        .lines()
        .rev()
        .filter_map(|line| line.strip_prefix(VERDICT_MARK));
    marked.find_map(end_of)
}

fn end_of(line: &str) -> Option<Event> {
    let record: Record = serde_json::from_str(line).ok()?;
    matches!(record.event, Event::TestFinished { .. }).then_some(record.event)
}

/// Copies what the build has left into the output folder, so that it holds
/// what that of a run here would.
fn bring_back(from: &Path, to: &Path) -> io::Result<()> {
    let from = OpenFolder::open(&fs::canonicalize(from)?)?;
    let to = OpenFolder::open(to)?;
    for name in from.names()?.into_iter().filter(|name| name != TAG) {
        from.copy_to(&name, &to, &name, ModeBits::Writable)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn links_and_modes_come_back() {
        let from = tempfile::tempdir().unwrap();
        let to = tempfile::tempdir().unwrap();
        fs::create_dir(from.path().join("folder")).unwrap();
        fs::write(from.path().join("folder/program"), "x").unwrap();
        let read_only = Permissions::from_mode(0o555);
        fs::set_permissions(from.path().join("folder/program"), read_only).unwrap();
        symlink("nowhere", from.path().join("broken")).unwrap();
        symlink(".", from.path().join("folder/self")).unwrap();
        fs::write(from.path().join(TAG), "of the build").unwrap();
        bring_back(from.path(), to.path()).unwrap();
        let link = |name: &str| fs::read_link(to.path().join(name)).unwrap();
        assert_eq!(link("broken"), Path::new("nowhere"));
        assert_eq!(link("folder/self"), Path::new("."));
        let program = fs::metadata(to.path().join("folder/program")).unwrap();
        assert_eq!(program.permissions().mode() & 0o777, 0o755);
        assert!(!to.path().join(TAG).exists());
    }

    #[test]
    fn the_verdict_is_read_from_the_marked_event() {
        let log = "running x\n@snowglobe {\"time_s\":1.0,\"event\":\"test_finished\",\"test\":\"x\",                   \"verdict\":\"failed\",\"duration_s\":3.0,\"failures\":[],\"subtests\":[],                   \"output\":\"/nix/store/x\"}\npassed: x (3.0 s)\n @snowglobe {}\n";
        let Some(Event::TestFinished { verdict, .. }) = end_in_log(log) else {
            panic!("there is no end in the log");
        };
        assert_eq!(verdict, Verdict::Failed);
        assert_eq!(end_in_log("passed: x (3.0 s)\n@snowglobe {}\n"), None);
    }
}
