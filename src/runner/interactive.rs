//! Interactive sessions with the machines of one test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::RunnerError;
use super::find_tests;
use super::frontend::Frontend;
use super::interrupts::{Interrupts, unless_interrupted};
use super::reports::{FinishedRun, finish, start};
use super::request::{OutputLocation, ScriptCheck, TestSelection};
use super::script_check::check_script_of;
use super::script_process::ScriptProcess;
use super::test_run::Job;
use crate::engine::{ScriptStop, statement_at, subtests_of};
use crate::model::event::{Level, SourceLine, Verdict};
use crate::model::manifest::{Manifest, python_name};
use crate::nix_cli::{self, Form, Nix, Test, TestSource};
use crate::report::Output;
use crate::session::{self, RunOutcome, RunSettings, StartPoint, StopPlace};
use crate::source_map::SourceMap;

/// A session of the user with the machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InteractiveSession {
    /// A prompt, in the mode that the settings bring.
    Prompt,
    /// The script, which stops for the user.
    Debug(DebugPlace),
    /// A shell on a machine.
    Shell {
        /// None for the only node.
        node: Option<String>,
        others: OtherMachines,
    },
}

/// Where a script stops for its user, as the user says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DebugPlace {
    Failure,
    /// A line of a file, or of the test's own.
    Line {
        file: Option<PathBuf>,
        line: usize,
    },
    Subtest(String),
}

/// The state of machines that a shell is not on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherMachines {
    Off,
    Started,
}

/// Builds the only test of a selection and opens a session with its machines.
///
/// # Errors
/// Returns an error if there is not one test, or it does not build or begin.
pub async fn run_session(
    mut selection: TestSelection,
    settings: &RunSettings,
    script_check: ScriptCheck,
    session: &InteractiveSession,
    output: &OutputLocation,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<Verdict, RunnerError> {
    if !matches!(session, InteractiveSession::Debug(_)) {
        selection.evaluation.form = Form::ByHand;
    }
    let Some(tests) = find_tests::evaluate(&selection, interrupts).await? else {
        return Ok(Verdict::Interrupted);
    };
    let [test] = tests.as_slice() else {
        return Err(several(&tests, &selection.evaluation.place));
    };
    let script = match session {
        InteractiveSession::Prompt | InteractiveSession::Debug(_) => {
            let script = test.source_map();
            check_script_of(
                test.label(),
                &script,
                &test.manifest,
                script_check,
                frontend,
            )?;
            script
        }
        InteractiveSession::Shell { node, others } => {
            let machine = python_name(chosen_node(node.as_deref(), &test.manifest)?);
            let start = match others {
                OtherMachines::Off => "",
                OtherMachines::Started => "start_all()\n",
            };
            SourceMap::of_text(format!("{start}{machine}.shell_interact()\n"))
        }
    };
    let mut settings = settings.clone();
    if let InteractiveSession::Debug(place) = session {
        settings.stop = Some(stop_at(place, &script)?);
    }
    session::preflight(&test.manifest)?;
    let folder = output.of_one(&test.name);
    let job = Job {
        test,
        script: Arc::new(script),
        settings: &settings,
        process: ScriptProcess::OfTerminal,
        slow_after: None,
        verifies: None,
    };
    let finished = build_and_run(&selection.nix, test, job, &folder, frontend, interrupts).await?;
    Ok(finished.outcome.verdict)
}

/// Builds an evaluated test and runs it; its output goes to `folder`.
async fn build_and_run(
    nix: &Nix,
    test: &Test,
    job: Job<'_>,
    folder: &Path,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<FinishedRun, RunnerError> {
    let output = Output::create(folder, &test.name)?;
    let (root, output_folder) = (output.root(), output.folder().to_owned());
    let reports = start(frontend.display(), Some(output))?;
    let events = &reports.events;
    let tell = |event| events.emit(event);
    let work = nix_cli::realise(nix, &test.derivation, &root, &tell);
    let built = unless_interrupted(work, interrupts).await;
    let result = match built {
        None => {
            events.note(Level::Warning, "interrupted while building");
            Ok(RunOutcome {
                verdict: Verdict::Interrupted,
                begun: StartPoint::Cold,
                seed: None,
            })
        }
        Some(Err(error)) => Err(error.into()),
        Some(Ok(())) => {
            let run = job.execute(output_folder, events, interrupts);
            run.await.map(|end| end.outcome)
        }
    };
    finish(reports, result, interrupts).await
}

/// Returns the statement at a place of the script.
///
/// # Errors
/// Returns an error if no statement is there.
fn stop_at(place: &DebugPlace, script: &SourceMap) -> Result<StopPlace, RunnerError> {
    let text = script.script();
    let at = |line| StopPlace::At(ScriptStop { line, hit: 1 });
    match place {
        DebugPlace::Failure => Ok(StopPlace::Failure),
        DebugPlace::Subtest(name) => {
            let subtests = subtests_of(text);
            let found = subtests.iter().find(|subtest| subtest.name == *name);
            found.map(|subtest| at(subtest.line)).ok_or_else(|| {
                let names: Vec<&str> = subtests.iter().map(|it| it.name.as_str()).collect();
                RunnerError::NoSubtest {
                    name: name.clone(),
                    known: names.join(", "),
                }
            })
        }
        DebugPlace::Line { file, line } => {
            let is_of_file = |place: &SourceLine| match (file, &place.file) {
                (None, _) => true,
                (Some(wanted), Some(found)) => found.ends_with(wanted),
                (Some(_), None) => false,
            };
            let is_meant = |place: &SourceLine| is_of_file(place) && place.file_line == Some(*line);
            let lines = script.lines();
            let found = (1..).zip(&lines).find(|(_, place)| is_meant(place));
            let statement = found.and_then(|(number, _)| statement_at(text, number));
            statement.map(at).ok_or_else(|| {
                let is_statement = |number| statement_at(text, number) == Some(number);
                let starts = (1..)
                    .zip(&lines)
                    .filter(|(number, _)| is_statement(*number));
                let nearest = starts
                    .filter(|(_, place)| is_of_file(place))
                    .filter_map(|(_, place)| place.file_line)
                    .min_by_key(|known| known.abs_diff(*line));
                RunnerError::NoStatement {
                    place: match file {
                        Some(file) => format!("{}:{line}", file.display()),
                        None => format!("line {line}"),
                    },
                    nearest,
                }
            })
        }
    }
}

fn chosen_node<'a>(node: Option<&'a str>, manifest: &'a Manifest) -> Result<&'a str, RunnerError> {
    let names: Vec<&str> = manifest.nodes.keys().map(String::as_str).collect();
    let problem = match (node, names.as_slice()) {
        (Some(name), names) if names.contains(&name) => return Ok(name),
        (None, [only]) => return Ok(only),
        (Some(name), _) => format!("there is no node {name}"),
        (None, _) => "say which node".to_owned(),
    };
    Err(RunnerError::Node {
        problem,
        test: manifest.name.clone(),
        names: names.join(", "),
    })
}

fn several(tests: &[Test], source: &TestSource) -> RunnerError {
    let names: Vec<&str> = tests.iter().map(Test::label).collect();
    RunnerError::SeveralTests {
        count: tests.len(),
        names: names.join(", "),
        choice: match source {
            TestSource::File(_) => "choose it with -A",
            TestSource::Flake(_) => "name it behind the `#`",
        },
    }
}
