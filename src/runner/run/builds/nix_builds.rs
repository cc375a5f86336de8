//! Runs tests as builds of Nix, all at once: its builders take as many as they can.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::check::{BuildState, CheckEnd, end_in_log, run_check};
use crate::model::event::{Event, Level, Verdict};
use crate::model::outcome::Attempt;
use crate::nix_cli::{self, BuildError, FailedBuilds, NamedDerivation, Nix};
use crate::runner::attempts::Attempts;
use crate::runner::error::RunnerError;
use crate::runner::found_test::FoundTest;
use crate::runner::interrupts::late_interrupt;
use crate::runner::reports::of_run::{RunReports, TestReports};
use crate::runner::request::RunRequest;
use crate::runner::run::checked_test::CheckedTest;
use crate::runner::run::ends::TestEnd;
use crate::runner::run::executor::Executor;
use crate::session::Interrupt;

/// A test to build.
type CheckedBuild<'a> = CheckedTest<'a, NamedDerivation>;

/// The builders of Nix.
pub(in crate::runner::run) struct NixBuilds<'a> {
    request: &'a RunRequest,
    /// How many tests are to be built.
    count: usize,
    waiting: Mutex<Vec<WaitingTest>>,
    /// How many tests have waited so far.
    begun: watch::Sender<usize>,
    is_closed: watch::Sender<bool>,
}

/// A test that waits for its build.
struct WaitingTest {
    label: String,
    nix: Nix,
    derivation: PathBuf,
    /// The reports of an only test, which are open from the start.
    reports: Option<TestReports>,
    has_begun: bool,
    done: oneshot::Sender<EndedBuild>,
}

impl WaitingTest {
    /// Shows an event in the test's own reports, or as one of many.
    fn show(&self, event: Event, reports: &RunReports<'_>) {
        match &self.reports {
            Some(own) => own.reports.events.emit(event),
            None => reports.show(&self.label, event),
        }
    }
}

/// A build that is over, or that Nix has not come to.
struct EndedBuild {
    state: BuildState,
    reports: Option<TestReports>,
}

impl<'a> NixBuilds<'a> {
    /// Returns the builders for `count` tests of a request.
    pub fn new(request: &'a RunRequest, count: usize) -> Self {
        Self {
            request,
            count,
            waiting: Mutex::default(),
            begun: watch::Sender::new(0),
            is_closed: watch::Sender::new(false),
        }
    }

    /// Builds all tests, and tells each when its build is over.
    async fn build_all(
        &self,
        nix: &Nix,
        derivations: Vec<PathBuf>,
        reports: &RunReports<'_>,
    ) -> Result<(), RunnerError> {
        for derivation in &derivations {
            if nix_cli::is_built(nix, derivation)? {
                self.note_earlier_build(derivation, reports);
            }
        }
        let (finished, mut ended) = mpsc::unbounded_channel();
        let emit = |event: Event| {
            let is_end = matches!(event, Event::BuildFinished { .. });
            let derivation = self.emit(event, reports).filter(|_| is_end);
            if let Some(derivation) = derivation {
                let _ = finished.send(derivation);
            }
        };
        let build = nix_cli::realise_all(nix, &derivations, &emit);
        tokio::pin!(build);
        let failed = loop {
            tokio::select! {
                result = &mut build => break result?,
                Some(derivation) = ended.recv() => {
                    // The reason of one that has failed without a verdict shows later.
                    while let Some(state) = state_of(nix, &derivation)?
                        && self.end(&derivation, state) {}
                }
            }
        };
        // Those that were built before, and those that did not build or need what did not.
        for derivation in &derivations {
            let has_begun = self.has_begun(derivation);
            // One that Nix has not come to is still to be built.
            let state = match reason(nix, derivation, failed.as_ref())? {
                Some(error) => BuildState::Failed { error, has_begun },
                None => BuildState::Unknown,
            };
            self.end(derivation, state);
        }
        Ok(())
    }

    /// Says that Nix does not build a test again, whose verdict and times are not of today.
    fn note_earlier_build(&self, derivation: &Path, reports: &RunReports<'_>) {
        let waiting = self.waiting();
        let of_derivation = waiting.iter().filter(|it| it.derivation == derivation);
        for test in of_derivation {
            let text = "Nix has built this test before: the verdict is that of the earlier build";
            let note = Event::note(Level::Info, text);
            test.show(note, reports);
        }
    }

    /// Emits an event of the builds in the reports of the test that it is about, or of the only test; returns the
    /// derivation of that test.
    fn emit(&self, event: Event, reports: &RunReports<'_>) -> Option<PathBuf> {
        let mut waiting = self.waiting();
        let about = derivation_of(&event).map(Path::new);
        let test = waiting.iter_mut().find(|it| Some(&*it.derivation) == about);
        let Some(test) = test else {
            match waiting.first().and_then(|it| it.reports.as_ref()) {
                Some(only) if reports.is_of_only_test() => only.reports.events.emit(event),
                _ => reports.show_of_run(event),
            }
            return None;
        };
        test.has_begun |= matches!(event, Event::BuildStarted { .. });
        test.show(event, reports);
        Some(test.derivation.clone())
    }

    /// Tells a test with a derivation that its build is over; returns whether there was one.
    fn end(&self, derivation: &Path, state: BuildState) -> bool {
        let mut waiting = self.waiting();
        let place = waiting.iter().position(|it| it.derivation == derivation);
        let Some(place) = place else {
            return false;
        };
        let WaitingTest { reports, done, .. } = waiting.remove(place);
        done.send(EndedBuild { state, reports }).is_ok()
    }

    fn has_begun(&self, derivation: &Path) -> bool {
        let waiting = self.waiting();
        let mut of_test = waiting.iter().filter(|it| it.derivation == derivation);
        of_test.any(|it| it.has_begun)
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<WaitingTest>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the build of a test; returns `None` if the test is left out.
    async fn ended(
        &self,
        test: &CheckedBuild<'_>,
        reports: Option<TestReports>,
        interrupts: &mut broadcast::Receiver<Interrupt>,
    ) -> Option<EndedBuild> {
        let (done, mut ended) = oneshot::channel();
        self.waiting().push(WaitingTest {
            label: test.label.clone(),
            nix: test.selection.nix.clone(),
            derivation: test.work.derivation.clone(),
            reports,
            has_begun: false,
            done,
        });
        self.begun.send_modify(|begun| *begun += 1);
        let mut closed = self.is_closed.subscribe();
        let was_interrupted = tokio::select! {
            biased;
            ended = &mut ended => return self.ended_or_cut(ended.ok()?, interrupts).await,
            _ = interrupts.recv() => true,
            _ = closed.wait_for(|is_closed| *is_closed) => false,
        };
        let left = self.take(&test.label)?;
        let is_cut = was_interrupted && (left.has_begun || self.count == 1);
        is_cut.then_some(EndedBuild {
            state: BuildState::Interrupted,
            reports: left.reports,
        })
    }

    /// Returns a build that has ended, as one that the user has ended if that is why it has failed.
    async fn ended_or_cut(
        &self,
        ended: EndedBuild,
        interrupts: &mut broadcast::Receiver<Interrupt>,
    ) -> Option<EndedBuild> {
        let has_failed = matches!(ended.state, BuildState::Failed { .. });
        if !has_failed || late_interrupt(interrupts).await.is_none() {
            return Some(ended);
        }
        let state = BuildState::Interrupted;
        Some(EndedBuild { state, ..ended })
    }

    fn take(&self, label: &str) -> Option<WaitingTest> {
        let mut waiting = self.waiting();
        let place = waiting.iter().position(|it| it.label == label)?;
        Some(waiting.remove(place))
    }
}

impl Executor for NixBuilds<'_> {
    type Work = NamedDerivation;

    fn most_at_once(&self) -> usize {
        usize::MAX
    }

    fn check<'t>(
        &self,
        found: FoundTest<'t, NamedDerivation>,
        reports: &RunReports<'_>,
    ) -> Result<CheckedBuild<'t>, Box<TestEnd>> {
        let checked = CheckedTest::of_found(self.request, found, |_| Ok(None))?;
        if let Some(warning) = checked.warning() {
            reports.show(&checked.label, warning);
        }
        Ok(checked)
    }

    async fn run(
        &self,
        test: CheckedBuild<'_>,
        reports: &RunReports<'_>,
        mut interrupts: broadcast::Receiver<Interrupt>,
    ) -> TestEnd {
        match self.end_of(&test, reports, &mut interrupts).await {
            Ok(Some(end)) => test.end(end, None),
            Ok(None) => test.left_out(),
            Err(error) => test.failed(error),
        }
    }

    async fn serve(&self, reports: &RunReports<'_>) -> Result<Infallible, RunnerError> {
        let mut begun = self.begun.subscribe();
        // Nix builds all of them in one process.
        let _ = begun.wait_for(|begun| *begun >= self.count).await;
        let (nix, derivations) = {
            let waiting = self.waiting();
            let derivations = waiting.iter().map(|it| it.derivation.clone());
            let nix = waiting.first().map(|it| it.nix.clone());
            (nix, derivations.collect())
        };
        if let Some(nix) = nix {
            self.build_all(&nix, derivations, reports).await?;
        }
        std::future::pending().await
    }

    fn begin_waiting(&self) {}

    fn end_evaluation(&self) {}

    fn close(&self) {
        self.is_closed.send_replace(true);
    }

    fn is_closed(&self) -> bool {
        *self.is_closed.borrow()
    }
}

impl NixBuilds<'_> {
    /// Waits for the build of a test, and brings its output folder here.
    async fn end_of(
        &self,
        test: &CheckedBuild<'_>,
        reports: &RunReports<'_>,
        interrupts: &mut broadcast::Receiver<Interrupt>,
    ) -> Result<Option<Attempts>, RunnerError> {
        let folder = reports.folder_of(&test.label);
        let open = || reports.of_test(&test.label, &test.work.name, &folder);
        let only = reports.is_of_only_test().then(open).transpose()?;
        let Some(ended) = self.ended(test, only, interrupts).await else {
            return Ok(None);
        };
        let own = match ended.reports {
            Some(own) => own,
            None => open()?,
        };
        let (nix, check) = (&test.selection.nix, &test.work);
        let show = |event| reports.show(&test.label, event);
        let CheckEnd {
            verdict,
            duration_s,
        } = run_check(nix, check, ended.state, own, &show, interrupts).await?;
        let run = reports.folder();
        Ok(Some(Attempts {
            all: vec![Attempt {
                verdict,
                duration_s,
                seed: None,
                folder: folder.strip_prefix(run).unwrap_or(&folder).to_owned(),
            }],
            error: None,
        }))
    }
}

/// Returns why a derivation is not built, of what has failed; `None` if it is, or Nix has not come to it.
fn reason(
    nix: &Nix,
    derivation: &Path,
    failed: Option<&FailedBuilds>,
) -> Result<Option<BuildError>, RunnerError> {
    let Some(failed) = failed else {
        return Ok(None);
    };
    if nix_cli::is_built(nix, derivation)? {
        return Ok(None);
    }
    let needed = nix_cli::needed_by(nix, derivation)?;
    Ok(failed.of(|derivation| needed.contains(derivation)))
}

/// Returns the result of a finished build, or `None` until Nix has reported it.
fn state_of(nix: &Nix, derivation: &Path) -> Result<Option<BuildState>, RunnerError> {
    if nix_cli::is_built(nix, derivation)? {
        return Ok(Some(BuildState::Unknown));
    }
    let log = nix_cli::build_log(nix, derivation)?;
    let has_failed = matches!(
        end_in_log(&log),
        Some(Event::TestFinished { verdict, .. }) if verdict != Verdict::Passed
    );
    Ok(has_failed.then(|| BuildState::Failed {
        error: BuildError::Failed("the test has failed".to_owned()),
        has_begun: true,
    }))
}

/// Returns the derivation that an event of a build is about.
fn derivation_of(event: &Event) -> Option<&str> {
    match event {
        Event::BuildStarted { derivation }
        | Event::BuildLog { derivation, .. }
        | Event::BuildFinished { derivation } => Some(derivation),
        _ => None,
    }
}
