//! Runs tests: on this host, or as builds of Nix. A run has one test or several; the loop is the same.

mod builds;
mod checked_test;
mod confirm;
mod ends;
mod executor;
mod here;
mod run_loop;
mod side_by_side;

use futures_util::stream::{self, LocalBoxStream, Stream, StreamExt};

use self::builds::{NixBuilds, find_builds};
use self::ends::Ends;
use self::executor::Executor;
use self::here::Here;
use self::run_loop::RunLoop;
use super::attempts::AttemptRule;
use super::error::RunnerError;
use super::evaluation::{EvalProcesses, evaluate_all, evaluate_in_batches};
use super::find_tests::{self, Expected, FoundTests};
use super::found_test::{FoundTest, left_out};
use super::frontend::Frontend;
use super::interrupts::{Interrupts, LateFirst, unless_interrupted};
use super::reports::of_run::{RunForm, RunReports, remember};
use super::request::{Builders, RunPlace, RunRequest};
use crate::engine::RunMode;
use crate::model::outcome::{Outcome, RunResults, TestResult};
use crate::nix_cli::{EvalError, Test, TestNames};
use crate::report::{RunFolder, read_results};

/// Runs all tests of a request; returns how they have ended. An interrupt leaves out those that are left. One of several
/// that does not evaluate, is wrong or does not build is shown, and the others run.
///
/// # Errors
/// Returns an error if the only test does not evaluate, build or begin, or the host fails.
pub async fn run(
    request: &RunRequest,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<RunResults, RunnerError> {
    let processes = EvalProcesses::new(request.evaluation);
    match request.place {
        RunPlace::Here => run_here(request, processes, frontend, interrupts).await,
        RunPlace::Derivation(builders) => {
            run_builds(request, builders, processes, frontend, interrupts).await
        }
    }
}

async fn run_here(
    request: &RunRequest,
    processes: EvalProcesses,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<RunResults, RunnerError> {
    let project = &request.project;
    let has_terminal = !matches!(request.settings.mode, RunMode::Script);
    let found = async {
        let found =
            find_tests::find(&request.selections, &request.filter, project, processes).await?;
        match found {
            // No test has the terminal before all scripts are checked.
            FoundTests::Named(named) if has_terminal => {
                let evaluate = find_tests::evaluate_these;
                let found = evaluate_all(named, processes, project, evaluate).await;
                Ok(FoundTests::Evaluated(found))
            }
            found => Ok(found),
        }
    };
    let Some(found) = unless_interrupted(found, interrupts).await else {
        return Ok(Ends::interrupted(frontend));
    };
    let found = found.inspect_err(|error| keep_eval_error(request, frontend, error))?;
    let earlier = earlier_tests(request);
    let form = match found.only_name() {
        Some(name) if earlier.is_empty() => RunForm::OnlyTest(name.to_owned()),
        _ if has_terminal => RunForm::InTurn,
        _ => RunForm::SideBySide,
    };
    let count = found.count();
    let is_named = matches!(found, FoundTests::Named(_));
    let evaluation_mib =
        (is_named && request.resources.memory_mib.is_none()).then(|| processes.memory_of_all_mib());
    let host = Here::new(request, count, evaluation_mib, frontend);
    let run = Run {
        request,
        frontend,
        form,
        earlier,
        jobs: host.most_jobs().min(count),
        expected: match request.attempts {
            // How often a test is repeated may depend on how it ends.
            Some(AttemptRule::Repeat(_)) => Expected::default(),
            Some(AttemptRule::Retry(_)) | None => found.expected(project),
        },
        tests: found.left_out(),
    };
    let evaluated = evaluated(request, found, processes);
    run.run(&host, evaluated, interrupts).await
}

/// Returns the tests of the last run in the output folder, if some of them are to run again: the others stay in the
/// report.
fn earlier_tests(request: &RunRequest) -> Vec<TestResult> {
    if !request.filter.not_passed {
        return Vec::new();
    }
    let earlier = read_results(&request.output.of_many());
    let tests = earlier.map(|results| results.tests).unwrap_or_default();
    let is_meant = |test: &TestResult| {
        let mut sources = request.selections.iter().map(|it| &it.source);
        sources.any(|source| *source == test.source)
    };
    match tests.as_slice() {
        [_, _, ..] if tests.iter().all(is_meant) => tests,
        _ => Vec::new(),
    }
}

/// Returns the tests as they are evaluated: first those that take longest, unless each has the terminal in turn.
fn evaluated<'a>(
    request: &'a RunRequest,
    found: FoundTests<'a>,
    processes: EvalProcesses,
) -> LocalBoxStream<'a, Vec<FoundTest<'a, Test>>> {
    let project = &request.project;
    match found {
        FoundTests::Evaluated(mut found) => {
            let expected = |found: &FoundTest<'_, Test>| {
                let expected_s = found.expected_s(project);
                expected_s.unwrap_or(f64::INFINITY)
            };
            if matches!(request.settings.mode, RunMode::Script) {
                found.sort_by(|left, right| expected(right).total_cmp(&expected(left)));
            }
            stream::iter([found]).boxed_local()
        }
        FoundTests::Named(named) => {
            let evaluate = find_tests::evaluate_these;
            evaluate_in_batches(named, processes, project, evaluate).boxed_local()
        }
    }
}

async fn run_builds(
    request: &RunRequest,
    builders: Builders,
    processes: EvalProcesses,
    frontend: &dyn Frontend,
    interrupts: &mut Interrupts,
) -> Result<RunResults, RunnerError> {
    let work = find_builds(request, builders, processes);
    let Some(found) = unless_interrupted(work, interrupts).await else {
        return Ok(Ends::interrupted(frontend));
    };
    let found = found?;
    let run = Run {
        request,
        frontend,
        form: match found.as_slice() {
            [only] => RunForm::OnlyTest(only.name().to_owned()),
            _ => RunForm::SideBySide,
        },
        earlier: Vec::new(),
        jobs: found.len(),
        expected: Expected::default(),
        tests: found.iter().map(FoundTest::left_out).collect(),
    };
    let good = found.iter().filter(|test| test.test.is_ok()).count();
    let builds = NixBuilds::new(request, good);
    run.run(&builds, stream::iter([found]), interrupts).await
}

/// A run whose tests are found.
struct Run<'a> {
    request: &'a RunRequest,
    frontend: &'a dyn Frontend,
    form: RunForm,
    /// Tests of an earlier run that stay in the report.
    earlier: Vec<TestResult>,
    /// How many tests run at a time at most.
    jobs: usize,
    expected: Expected,
    /// All tests, as results of tests that have been left out.
    tests: Vec<TestResult>,
}

impl Run<'_> {
    /// Runs the tests where `executor` runs them, and reports on them.
    ///
    /// # Errors
    /// Returns an error if the only test cannot be run, or the host fails.
    async fn run<'t, E: Executor>(
        self,
        executor: &E,
        evaluated: impl Stream<Item = Vec<FoundTest<'t, E::Work>>>,
        interrupts: &mut Interrupts,
    ) -> Result<RunResults, RunnerError> {
        let Self {
            request, frontend, ..
        } = self;
        let reports = RunReports::start(request, self.form, self.earlier, frontend)?;
        let mut ends = Ends::new(frontend, self.tests.len(), request.max_fail);
        let unfinished = ends.unfinished(self.tests.clone());
        reports.begin(&unfinished, self.jobs, self.expected)?;
        let run_loop = RunLoop {
            request,
            reports: &reports,
            executor,
        };
        let ended = tokio::select! {
            ended = run_loop.run(evaluated, self.tests, &mut ends, interrupts) => ended,
            Err(error) = executor.serve(&reports) => Err(error),
        };
        let mut interrupts = LateFirst {
            late: ends.late_interrupt(),
            others: interrupts,
        };
        let results = ends.finish();
        reports
            .conclude(ended, results, frontend, &mut interrupts)
            .await
    }
}

/// Keeps what keeps a whole file from being evaluated: for `--rerun`, and in the place of the reports of its last run,
/// which would say that its tests passed.
fn keep_eval_error(request: &RunRequest, frontend: &dyn Frontend, error: &RunnerError) {
    let ([selection], RunnerError::Eval(EvalError::Nix(_))) =
        (request.selections.as_slice(), error)
    else {
        return;
    };
    let history = &request.project.history;
    // Not what a command line has wrong, such as a name.
    if !selection.evaluation.attributes.is_empty() || !history.knows(&selection.source) {
        return;
    }
    let label = selection.evaluation.place.to_string();
    let result = TestResult {
        outcome: Outcome::NotRun,
        obstacle: Some(error.obstacle()),
        message: Some(error.report()),
        ..left_out(selection, &label, &TestNames::default())
    };
    let results = Ends::only(frontend, result);
    remember(frontend, &results);
    let folder = request.output.of_many();
    let is_of_it = |earlier: &RunResults| {
        let mut tests = earlier.tests.iter();
        tests.any(|test| test.source == selection.source)
    };
    if !read_results(&folder).is_ok_and(|earlier| is_of_it(&earlier)) {
        return;
    }
    let written = RunFolder::claim(&folder).and_then(|folder| folder.finish(&results, history));
    match written {
        Ok(written) => frontend.annotate(&results, &written.failures),
        Err(error) => tracing::warn!("{error}"),
    }
}
