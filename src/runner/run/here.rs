//! Runs tests on this host: builds each, waits for room, and makes its attempts.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::path::Path;

use tokio::sync::{Semaphore, broadcast};

use super::checked_test::CheckedTest;
use super::confirm;
use super::ends::TestEnd;
use super::executor::Executor;
use super::side_by_side::{RepeatedTest, repeat_from_checkpoint};
use crate::engine::RunMode;
use crate::model::event::{Event, Level, Verdict};
use crate::model::outcome::{Attempt, Outcome};
use crate::nix_cli::{self, Test};
use crate::output_folder::further_attempt;
use crate::qemu::HostAccelerator;
use crate::runner::apart::RunEnd;
use crate::runner::attempts::{
    AttemptEnd, AttemptRule, Attempts, Next, make_attempts, retry_event,
};
use crate::runner::error::RunnerError;
use crate::runner::found_test::{FoundTest, backend};
use crate::runner::frontend::Frontend;
use crate::runner::interrupts::unless_interrupted;
use crate::runner::reports::of_run::{RunReports, TestReports};
use crate::runner::request::{Confirmation, JobCount, Resources, RunRequest};
use crate::runner::schedule::{Budget, Demand, Schedule, Turn};
use crate::runner::script_process::ScriptProcess;
use crate::runner::test_run::{Job, check_test, verified};
use crate::session::{Interrupt, ReplayMode, RunSettings};

/// How many tests at most are built at a time.
const MOST_BUILDS: usize = 4;

/// How many tests at most are built ahead and wait for their turn: as many again of each group, which may be crowded.
const MOST_WAITING: usize = 64;

/// This host.
pub(super) struct Here<'a> {
    request: &'a RunRequest,
    frontend: &'a dyn Frontend,
    process: ScriptProcess,
    schedule: Schedule,
    budget: Budget,
    /// For tests that do not run yet: those of each group with a limit, and under no name all others.
    waiting: BTreeMap<String, Semaphore>,
    /// For tests that are built.
    building: Semaphore,
    accelerator: HostAccelerator,
}

/// A test that is built, or why it does not begin.
enum Start {
    Granted(Turn, TestReports),
    LeftOut,
    /// The user has ended the build, whose output is here.
    Interrupted(TestReports),
}

impl<'a> Here<'a> {
    /// Returns the host for `count` tests of a request, whose evaluation takes some memory beside them, in MiB.
    pub fn new(
        request: &'a RunRequest,
        count: usize,
        evaluation_mib: Option<u64>,
        frontend: &'a dyn Frontend,
    ) -> Self {
        let has_terminal = !matches!(request.settings.mode, RunMode::Script);
        let mut resources = request.resources.clone();
        if has_terminal {
            resources.jobs = JobCount::Exactly(NonZeroUsize::MIN);
        }
        let budget = Budget::new(&resources);
        let schedule = Schedule::new(budget.clone());
        schedule.reserve(evaluation_mib.unwrap_or_default());
        Self {
            request,
            frontend,
            process: if has_terminal || count == 1 {
                ScriptProcess::OfTerminal
            } else {
                ScriptProcess::Own
            },
            schedule,
            waiting: places_to_wait(&resources),
            building: Semaphore::new(budget.most_jobs().min(MOST_BUILDS)),
            budget,
            accelerator: HostAccelerator::detect(),
        }
    }

    /// Returns how many tests can run at a time at most, if they are small.
    pub fn most_jobs(&self) -> usize {
        self.budget.most_jobs()
    }

    /// Whether a failure of a test is confirmed by virtual machines: Snowglobe has chosen its containers.
    fn confirms(&self, test: &CheckedTest<'_, Test>) -> bool {
        let request = self.request;
        request.confirmation == Confirmation::AsVirtualMachines
            && matches!(request.settings.mode, RunMode::Script)
            && matches!(test.rule, AttemptRule::Retry(_))
            && confirm::is_of_chosen_containers(&test.work)
    }

    fn demand(&self, test: &CheckedTest<'_, Test>) -> Demand {
        let groups = test.policy.groups.clone();
        Demand::of(&test.work.manifest, &self.accelerator, groups)
    }

    /// Waits for the turn of a test; `None` if no more tests are to begin.
    async fn turn(&self, test: &CheckedTest<'_, Test>) -> Option<Turn> {
        self.schedule.turn(self.demand(test), test.expected_s).await
    }

    /// Returns the place where a test waits for its turn.
    fn place_to_wait(&self, test: &CheckedTest<'_, Test>) -> Option<&Semaphore> {
        let groups = test.policy.groups.iter().map(String::as_str);
        let mut names = groups.chain([""]);
        names.find_map(|name| self.waiting.get(name))
    }
}

fn places_to_wait(resources: &Resources) -> BTreeMap<String, Semaphore> {
    let groups = resources.groups.keys().cloned();
    let names = groups.chain([String::new()]);
    names
        .map(|name| (name, Semaphore::new(MOST_WAITING)))
        .collect()
}

impl Executor for Here<'_> {
    type Work = Test;

    fn most_at_once(&self) -> usize {
        // A test that has the terminal has it alone, also while it is built.
        match self.request.settings.mode {
            RunMode::Script => usize::MAX,
            _ => 1,
        }
    }

    fn check<'t>(
        &self,
        found: FoundTest<'t, Test>,
        reports: &RunReports<'_>,
    ) -> Result<CheckedTest<'t, Test>, Box<TestEnd>> {
        let checked = CheckedTest::of_found(self.request, found, |test| {
            check_test(self.request, test, self.frontend)?;
            Ok(backend(&test.manifest))
        })?;
        let demand = self.demand(&checked);
        if let Err(error) = demand.check(&self.request.resources) {
            return Err(Box::new(checked.failed(error)));
        }
        let of_budget = self.budget.warning(&demand);
        let of_budget = of_budget.filter(|_| reports.is_side_by_side());
        let of_budget = of_budget.map(|text| Event::note(Level::Warning, text));
        for warning in checked.warning().into_iter().chain(of_budget) {
            reports.show(&checked.label, warning);
        }
        Ok(checked)
    }

    async fn run(
        &self,
        test: CheckedTest<'_, Test>,
        reports: &RunReports<'_>,
        mut interrupts: broadcast::Receiver<Interrupt>,
    ) -> TestEnd {
        let folder = reports.folder_of(&test.label);
        let running = RunningTest {
            host: self,
            test: &test,
            reports,
            interrupts: &mut interrupts,
        };
        let ended = if self.confirms(&test) {
            running.run_confirmed(&folder).await
        } else {
            running.run(&folder).await
        };
        match ended {
            Ok(end) => end,
            Err(error) => test.failed(error),
        }
    }

    async fn serve(&self, _: &RunReports<'_>) -> Result<Infallible, RunnerError> {
        std::future::pending().await
    }

    fn begin_waiting(&self) {
        self.schedule.grant();
    }

    fn end_evaluation(&self) {
        self.schedule.reserve(0);
    }

    fn close(&self) {
        self.schedule.close();
        self.waiting.values().for_each(Semaphore::close);
        self.building.close();
    }

    fn is_closed(&self) -> bool {
        self.schedule.is_closed()
    }
}

/// A test that has been begun.
struct RunningTest<'a> {
    host: &'a Here<'a>,
    test: &'a CheckedTest<'a, Test>,
    reports: &'a RunReports<'a>,
    interrupts: &'a mut broadcast::Receiver<Interrupt>,
}

impl<'a> RunningTest<'a> {
    /// Runs a test whose containers were chosen for it. If they fail it, it runs as virtual machines, too; if they are
    /// known to, it runs as such only.
    async fn run_confirmed(mut self, folder: &Path) -> Result<TestEnd, RunnerError> {
        let (host, test) = (self.host, self.test);
        let note = |level, text: &str| self.reports.show(&test.label, Event::note(level, text));
        let identity = confirm::identity(&test.work);
        let (source, attribute) = (&test.selection.source, &test.names.attribute);
        let project = &host.request.project;
        if project.is_not_for_containers(source, attribute, &identity)
            && let Some(vms) = self.as_vms().await?
        {
            note(
                Level::Info,
                "virtual machines, as this test has failed as containers and passed as virtual machines",
            );
            let mut end = self.with(&vms).run(folder).await?;
            end.result.not_as_containers = Some(identity);
            return Ok(end);
        }
        let first = self.with(test).run(folder).await?;
        if first.result.outcome != Outcome::Failed || host.is_closed() {
            return Ok(first);
        }
        note(
            Level::Warning,
            "failed as containers: running it once more as virtual machines (`--no-confirm` leaves that out)",
        );
        let folder = folder.join(further_attempt(first.result.attempts.len() + 1));
        let second = async {
            match self.as_vms().await? {
                Some(vms) => self.with(&vms).run(&folder).await.map(Some),
                None => Ok(None),
            }
        };
        match second.await {
            Ok(Some(second)) => {
                if second.result.outcome == Outcome::Passed {
                    note(
                        Level::Warning,
                        "failed as containers and passed as virtual machines: it runs as virtual machines until its machines or its script change",
                    );
                }
                Ok(confirm::both(first, second, &identity))
            }
            Ok(None) => Ok(first),
            Err(error) => {
                let warning = format!("the test cannot run as virtual machines: {error}");
                note(Level::Warning, &warning);
                Ok(first)
            }
        }
    }

    /// The test as virtual machines, which this host can run; `None` if it is not there any more.
    async fn as_vms(&mut self) -> Result<Option<CheckedTest<'a, Test>>, RunnerError> {
        let (host, test) = (self.host, self.test);
        let found = confirm::as_virtual_machines(test);
        let Some(found) = unless_interrupted(found, self.interrupts).await else {
            return Ok(None);
        };
        let Some(work) = found? else {
            return Ok(None);
        };
        check_test(host.request, &work, host.frontend)?;
        let kind = backend(&work.manifest);
        let vms = test.with_work(work, kind);
        host.demand(&vms).check(&host.request.resources)?;
        Ok(Some(vms))
    }

    /// Returns this place with another test.
    fn with<'b>(&'b mut self, test: &'b CheckedTest<'b, Test>) -> RunningTest<'b> {
        RunningTest {
            host: self.host,
            test,
            reports: self.reports,
            interrupts: self.interrupts,
        }
    }

    /// Builds the test, waits for its turn, and makes its attempts, the first of which goes to `folder`.
    async fn run(mut self, folder: &Path) -> Result<TestEnd, RunnerError> {
        let (turn, reports) = match self.built(folder).await? {
            Start::Granted(turn, reports) => (turn, reports),
            Start::LeftOut => return Ok(self.test.left_out()),
            Start::Interrupted(reports) => return self.interrupted(reports),
        };
        let started_s = self.reports.time_s();
        let is_repeated = matches!(self.test.rule, AttemptRule::Repeat(_));
        if is_repeated && self.host.request.settings.from.is_some() {
            let test = self.test;
            let ended = repeat_from_checkpoint(&mut self, folder, reports, turn).await?;
            let mut end = test.end(ended.attempts, Some(started_s));
            end.result.leaky = ended.is_leaky;
            return Ok(end);
        }
        let mut built = Some(reports);
        let mut is_leaky = false;
        let test = self.test;
        let (run, schedule) = (self.reports, &self.host.schedule);
        let once = async |at: &Path, earlier: &[Attempt]| {
            if let Some(event) = retry_event(test.rule, earlier) {
                run.show(&test.label, event);
            }
            let RunEnd { outcome, leaky } = self.attempt_alone(at, built.take()).await?;
            is_leaky |= leaky;
            Ok(AttemptEnd {
                verdict: outcome.verdict,
                seed: outcome.seed,
                next: if schedule.is_closed() {
                    Next::Never
                } else {
                    Next::ByTheRule
                },
            })
        };
        let attempts = make_attempts(test.rule, folder, run.folder(), once).await?;
        drop(turn);
        let mut end = test.end(attempts, Some(started_s));
        end.result.leaky = is_leaky;
        Ok(end)
    }

    /// Builds the test and waits for its turn. What the build says is in the reports of its first attempt.
    async fn built(&mut self, folder: &Path) -> Result<Start, RunnerError> {
        let (host, test) = (self.host, self.test);
        let Some(waiting) = host.place_to_wait(test) else {
            return Ok(Start::LeftOut);
        };
        let Ok(_place) = waiting.acquire().await else {
            return Ok(Start::LeftOut);
        };
        let Ok(building) = host.building.acquire().await else {
            return Ok(Start::LeftOut);
        };
        let reports = self.reports.of_test(&test.label, &test.work.name, folder)?;
        let built = {
            let emit = |event| reports.reports.events.emit(event);
            let nix = &test.selection.nix;
            let work = nix_cli::realise(nix, &test.work.derivation, &reports.root, &emit);
            let Some(built) = unless_interrupted(work, self.interrupts).await else {
                emit(Event::note(Level::Warning, "interrupted while building"));
                return Ok(Start::Interrupted(reports));
            };
            built
        };
        drop(building);
        if let Err(error) = built {
            reports.close()?;
            return Err(error.into());
        }
        let Some(turn) = host.turn(test).await else {
            reports.close()?;
            return Ok(Start::LeftOut);
        };
        Ok(Start::Granted(turn, reports))
    }

    /// Returns the end of a test whose build the user has ended.
    fn interrupted(&self, reports: TestReports) -> Result<TestEnd, RunnerError> {
        let folder = reports.folder.clone();
        reports.close()?;
        let run = self.reports.folder();
        let attempt = Attempt {
            verdict: Verdict::Interrupted,
            seed: None,
            duration_s: 0.0,
            folder: folder.strip_prefix(run).unwrap_or(&folder).to_owned(),
        };
        let attempts = Attempts {
            all: vec![attempt],
            error: None,
        };
        Ok(self.test.end(attempts, None))
    }

    /// Makes an attempt, whose reports are whole at its end: those of the build, if it is the first.
    async fn attempt_alone(
        &mut self,
        folder: &Path,
        mut built: Option<TestReports>,
    ) -> Result<RunEnd, RunnerError> {
        let request = self.host.request;
        let settings = self.test.settings(request);
        let once = async |settings: &RunSettings, verifies| {
            let reports = match built.take() {
                Some(reports) => reports,
                None => self.built_again(folder).await?,
            };
            let job = Job {
                test: &self.test.work,
                script: self.test.work.source_map().into(),
                settings,
                process: self.host.process,
                slow_after: self.test.policy.slow_timeout,
                verifies,
            };
            self.execute(job, reports).await
        };
        let outcome_of = |end: &RunEnd| end.outcome;
        verified(request.verification, &settings, outcome_of, once).await
    }

    /// Returns the reports of a further run of a test that is built.
    async fn built_again(&self, folder: &Path) -> Result<TestReports, RunnerError> {
        let test = &self.test.work;
        let reports = self.reports.of_test(&self.test.label, &test.name, folder)?;
        let nix = &self.test.selection.nix;
        // The folder of an earlier run was what kept the machines from Nix's garbage collector.
        nix_cli::realise(nix, &test.derivation, &reports.root, &|_| ()).await?;
        Ok(reports)
    }

    /// Runs the test, and ends its reports.
    async fn execute(&mut self, job: Job<'_>, reports: TestReports) -> Result<RunEnd, RunnerError> {
        let folder = reports.folder.clone();
        let events = &reports.reports.events;
        let ended = job.execute(folder, events, self.interrupts).await;
        let written = reports.close();
        let ended = ended?;
        match written {
            Err(RunnerError::Output(source)) => Err(RunnerError::OutputLost {
                source,
                verdict: ended.outcome.verdict,
            }),
            other => other.map(|()| ended),
        }
    }
}

impl RepeatedTest for RunningTest<'_> {
    fn rule(&self) -> AttemptRule {
        self.test.rule
    }

    fn folder_of_run(&self) -> &Path {
        self.reports.folder()
    }

    fn is_closed(&self) -> bool {
        self.host.is_closed()
    }

    fn show(&self, event: Event) {
        self.reports.show(&self.test.label, event);
    }

    async fn attempt(
        &mut self,
        folder: &Path,
        built: Option<TestReports>,
    ) -> Result<RunEnd, RunnerError> {
        self.attempt_alone(folder, built).await
    }

    async fn attempt_beside(&self, folder: &Path) -> Result<(RunEnd, Option<Event>), RunnerError> {
        let settings = RunSettings {
            replay: ReplayMode::Beside,
            ..self.test.settings(self.host.request)
        };
        let (reports, last) = TestReports::of_attempt_beside(&self.test.work.name, folder)?;
        let job = Job {
            test: &self.test.work,
            script: self.test.work.source_map().into(),
            settings: &settings,
            process: ScriptProcess::Own,
            slow_after: self.test.policy.slow_timeout,
            verifies: None,
        };
        let mut interrupts = self.interrupts.resubscribe();
        let mut one = RunningTest {
            host: self.host,
            test: self.test,
            reports: self.reports,
            interrupts: &mut interrupts,
        };
        let end = one.execute(job, reports).await?;
        Ok((end, last.take()))
    }

    async fn turn(&self) -> Option<Turn> {
        self.host.turn(self.test).await
    }
}
