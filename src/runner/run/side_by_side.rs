//! Repeats of a test from a checkpoint, side by side: as many as memory and processors allow.

use std::path::{Path, PathBuf};
use std::time::Instant;

use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::model::event::{Event, Level, Verdict, round};
use crate::model::outcome::Attempt;
use crate::output_folder::further_attempt;
use crate::runner::apart::RunEnd;
use crate::runner::attempts::{AttemptRule, Attempts};
use crate::runner::error::RunnerError;
use crate::runner::reports::of_run::TestReports;
use crate::runner::schedule::Turn;
use crate::session::{RunOutcome, StartPoint};

/// A test that is repeated.
pub(super) trait RepeatedTest {
    fn rule(&self) -> AttemptRule;

    /// Returns the output folder of the run.
    fn folder_of_run(&self) -> &Path;

    /// Whether no more attempts are to begin.
    fn is_closed(&self) -> bool;

    /// Shows an event of the test.
    fn show(&self, event: Event);

    /// Makes an attempt alone, with the reports of the build if it is the first.
    async fn attempt(
        &mut self,
        folder: &Path,
        built: Option<TestReports>,
    ) -> Result<RunEnd, RunnerError>;

    /// Makes an attempt beside others, which displays nothing; returns its last event.
    async fn attempt_beside(&self, folder: &Path) -> Result<(RunEnd, Option<Event>), RunnerError>;

    /// Waits for room for one more attempt; `None` if there will be none.
    async fn turn(&self) -> Option<Turn>;
}

/// The attempts at a test that starts from a checkpoint.
struct Repeats {
    rule: AttemptRule,
    begin: Instant,
    done: Vec<Attempt>,
    running: usize,
    /// Folders for the output of attempts, and the number of the next one.
    folders: Vec<PathBuf>,
    next_folder: usize,
    is_leaky: bool,
    first_failure: Option<PathBuf>,
}

/// An attempt that has ended, with what it had.
struct EndedRepeat {
    result: Result<(RunEnd, Option<Event>), RunnerError>,
    duration_s: f64,
    folder: PathBuf,
    turn: Turn,
}

/// All attempts, and whether one of them has left processes behind.
pub(super) struct RepeatsEnd {
    pub attempts: Attempts,
    pub is_leaky: bool,
}

/// Makes the attempts at a test, which starts from a checkpoint: alone until one has started from there, or has passed and
/// saved it, and the others side by side. The first failure is shown, and its output stays.
///
/// # Errors
/// Returns an error if the first attempt cannot be made.
pub(super) async fn repeat_from_checkpoint(
    test: &mut impl RepeatedTest,
    folder: &Path,
    built: TestReports,
    turn: Turn,
) -> Result<RepeatsEnd, RunnerError> {
    let mut repeats = Repeats {
        rule: test.rule(),
        begin: Instant::now(),
        done: Vec::new(),
        running: 0,
        folders: Vec::new(),
        next_folder: 2,
        is_leaky: false,
        first_failure: None,
    };
    let mut built = Some(built);
    let mut error = None;
    let mut is_saved = false;
    while !is_saved && repeats.may_start() && !test.is_closed() {
        let at = repeats.rule.folder(folder, &repeats.done);
        let start = Instant::now();
        match test.attempt(&at, built.take()).await {
            Ok(end) => {
                let outcome = end.outcome;
                is_saved = outcome.begun == StartPoint::FromCheckpoint
                    || outcome.verdict == Verdict::Passed;
                repeats.is_leaky |= end.leaky;
                repeats.add(outcome, start.elapsed().as_secs_f64(), &at, test);
            }
            Err(failed) if repeats.done.is_empty() => return Err(failed),
            Err(failed) => {
                error = Some(failed);
                break;
            }
        }
    }
    if error.is_none() {
        if repeats.may_start() {
            let start = "the further attempts start from the checkpoint, side by side";
            test.show(Event::note(Level::Info, start));
        }
        error = run_beside(&mut repeats, test, folder, turn).await;
    }
    Ok(RepeatsEnd {
        attempts: Attempts {
            all: repeats.done,
            error,
        },
        is_leaky: repeats.is_leaky,
    })
}

/// Runs attempts side by side until there are enough; returns the error of one that could not be made.
async fn run_beside(
    repeats: &mut Repeats,
    test: &impl RepeatedTest,
    folder: &Path,
    turn: Turn,
) -> Option<RunnerError> {
    let mut error = None;
    let mut free = vec![turn];
    let mut running = FuturesUnordered::new();
    let mut granted = Box::pin(test.turn());
    let mut is_last_turn = false;
    loop {
        let is_open = error.is_none() && !test.is_closed();
        while is_open
            && repeats.may_start()
            && let Some(turn) = free.pop()
        {
            let at = repeats.take_folder(folder);
            repeats.running += 1;
            running.push(repeat(test, at, turn));
        }
        let wants_turn = is_open && !is_last_turn && repeats.may_start();
        tokio::select! {
            biased;
            Some(ended) = running.next(), if !running.is_empty() => {
                repeats.running -= 1;
                let EndedRepeat { result, duration_s, folder, turn } = ended;
                free.push(turn);
                match result {
                    Ok((end, finished)) => {
                        repeats.is_leaky |= end.leaky;
                        if let Some(event) = finished {
                            test.show(event);
                        }
                        repeats.add(end.outcome, duration_s, &folder, test);
                        repeats.give_back(folder);
                    }
                    Err(failed) => error = error.or(Some(failed)),
                }
            }
            turn = &mut granted, if wants_turn => {
                // No turn means that no more are to begin; those that run come to their ends.
                is_last_turn = turn.is_none();
                free.extend(turn);
                if !is_last_turn {
                    granted = Box::pin(test.turn());
                }
            }
            else => return error,
        }
    }
}

async fn repeat(test: &impl RepeatedTest, folder: PathBuf, turn: Turn) -> EndedRepeat {
    let start = Instant::now();
    let result = test.attempt_beside(&folder).await;
    EndedRepeat {
        result,
        duration_s: start.elapsed().as_secs_f64(),
        folder,
        turn,
    }
}

impl Repeats {
    fn may_start(&self) -> bool {
        self.rule
            .allows_another(&self.done, self.running, self.begin)
    }

    fn add(
        &mut self,
        outcome: RunOutcome,
        duration_s: f64,
        folder: &Path,
        test: &impl RepeatedTest,
    ) {
        let RunOutcome { verdict, seed, .. } = outcome;
        if verdict == Verdict::Failed && self.first_failure.is_none() {
            self.first_failure = Some(folder.to_owned());
            let place = folder.display();
            let seed = seed.map_or(String::new(), |seed| format!(", with --seed {seed}"));
            let kept =
                format!("the first failure is in {place}{seed}: later attempts leave it as it is");
            test.show(Event::note(Level::Info, kept));
        }
        let of_run = test.folder_of_run();
        self.done.push(Attempt {
            verdict,
            duration_s: round(duration_s),
            seed,
            folder: folder.strip_prefix(of_run).unwrap_or(folder).to_owned(),
        });
    }

    fn take_folder(&mut self, of_test: &Path) -> PathBuf {
        self.folders.pop().unwrap_or_else(|| {
            let folder = of_test.join(further_attempt(self.next_folder));
            self.next_folder += 1;
            folder
        })
    }

    /// Has a later attempt write to a folder, unless the first failure is there.
    fn give_back(&mut self, folder: PathBuf) {
        if self.first_failure.as_ref() != Some(&folder) {
            self.folders.push(folder);
        }
    }
}
