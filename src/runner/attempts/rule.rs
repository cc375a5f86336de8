//! How often a test is tried, and what its attempts say together.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::model::event::Verdict;
use crate::model::outcome::{Attempt, Outcome};
use crate::output_folder::{LATER_ATTEMPT, further_attempt};

/// Why a test may have more than one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptRule {
    /// Retries after a failure, at most this many times; a passed attempt ends the test.
    Retry(u32),
    /// To look for a failure.
    Repeat(Repetition),
}

/// How long to look for a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repetition {
    pub count: Option<NonZeroU32>,
    pub time: Option<Duration>,
    pub after_failure: RepeatAfterFailure,
}

/// The continuation after the failure that a repetition looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepeatAfterFailure {
    Stop,
    GoOn,
}

impl AttemptRule {
    /// How many attempts there may be; None if that depends.
    pub(in crate::runner) fn most(self) -> Option<u32> {
        match self {
            Self::Retry(retries) => Some(retries.saturating_add(1)),
            Self::Repeat(repetition) => repetition.count.map(NonZeroU32::get),
        }
    }

    /// Whether another attempt follows those of a test that was begun at `begin`.
    pub(in crate::runner) fn continues(self, attempts: &[Attempt], begin: Instant) -> bool {
        let Some(last) = attempts.last() else {
            return true;
        };
        if matches!(last.verdict, Verdict::Interrupted | Verdict::SessionClosed) {
            return false;
        }
        let count = u32::try_from(attempts.len()).unwrap_or(u32::MAX);
        let has_passed = last.verdict == Verdict::Passed;
        match self {
            Self::Retry(retries) => !has_passed && count <= retries,
            Self::Repeat(repetition) => {
                let is_over = repetition.after_failure == RepeatAfterFailure::Stop && !has_passed;
                let is_late = repetition.time.is_some_and(|time| begin.elapsed() >= time);
                let is_enough = repetition.count.is_some_and(|most| count >= most.get());
                !(is_over || is_late || is_enough)
            }
        }
    }

    /// Whether another attempt may start beside some that run, after those that are done.
    pub(in crate::runner) fn allows_another(
        self,
        done: &[Attempt],
        running: usize,
        begin: Instant,
    ) -> bool {
        let count = u32::try_from(done.len() + running).unwrap_or(u32::MAX);
        let is_enough = self.most().is_some_and(|most| count >= most);
        let mut ends = done.iter();
        !is_enough && ends.all(|one| self.continues(std::slice::from_ref(one), begin))
    }

    /// Returns the outcome of all attempts together.
    pub(in crate::runner) fn outcome(self, attempts: &[Attempt]) -> Outcome {
        let Some(last) = attempts.last() else {
            return Outcome::LeftOut;
        };
        let of_last = Outcome::of_verdict(last.verdict);
        match self {
            Self::Retry(_) if of_last == Outcome::Passed && attempts.len() > 1 => Outcome::Flaky,
            Self::Retry(_) => of_last,
            Self::Repeat(_) => {
                let bad = attempts.iter().map(|it| Outcome::of_verdict(it.verdict));
                bad.into_iter()
                    .find(|outcome| !outcome.is_good())
                    .unwrap_or(of_last)
            }
        }
    }

    /// The output folder of the next attempt: the first failure of a test is kept whole.
    pub(in crate::runner) fn folder(self, of_test: &Path, attempts: &[Attempt]) -> PathBuf {
        match self {
            Self::Retry(_) if attempts.is_empty() => of_test.to_owned(),
            Self::Retry(_) => of_test.join(further_attempt(attempts.len() + 1)),
            Self::Repeat(_) if attempts.iter().all(|it| it.verdict == Verdict::Passed) => {
                of_test.to_owned()
            }
            Self::Repeat(_) => of_test.join(LATER_ATTEMPT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Error, Failed, Interrupted, Passed};

    fn attempts(verdicts: &[Verdict]) -> Vec<Attempt> {
        let attempt = |verdict: &Verdict| Attempt {
            verdict: *verdict,
            duration_s: 1.0,
            folder: PathBuf::new(),
            seed: None,
        };
        verdicts.iter().map(attempt).collect()
    }

    fn decide(rule: AttemptRule, verdicts: &[Verdict]) -> (bool, Outcome) {
        let attempts = attempts(verdicts);
        (
            rule.continues(&attempts, Instant::now()),
            rule.outcome(&attempts),
        )
    }

    #[test]
    fn a_test_that_passes_at_a_later_attempt_is_flaky() {
        let rule = AttemptRule::Retry(2);
        for (verdicts, continues, outcome) in [
            (&[Passed][..], false, Outcome::Passed),
            (&[Failed], true, Outcome::Failed),
            (&[Failed, Passed], false, Outcome::Flaky),
            (&[Failed, Error, Failed], false, Outcome::Failed),
            (&[Failed, Interrupted], false, Outcome::Interrupted),
        ] {
            assert_eq!(decide(rule, verdicts), (continues, outcome), "{verdicts:?}");
        }
        assert_eq!(
            decide(AttemptRule::Retry(0), &[Failed]),
            (false, Outcome::Failed)
        );
    }

    #[test]
    fn a_repeated_test_has_failed_if_one_attempt_has() {
        let repeat = |count, after_failure| {
            AttemptRule::Repeat(Repetition {
                count: NonZeroU32::new(count),
                time: None,
                after_failure,
            })
        };
        let three = repeat(3, RepeatAfterFailure::GoOn);
        assert_eq!(decide(three, &[Passed, Failed]), (true, Outcome::Failed));
        assert_eq!(
            decide(three, &[Passed, Failed, Passed]),
            (false, Outcome::Failed)
        );
        let until = repeat(0, RepeatAfterFailure::Stop);
        assert_eq!(decide(until, &[Passed, Passed]), (true, Outcome::Passed));
        assert_eq!(decide(until, &[Passed, Failed]), (false, Outcome::Failed));
        let timed = AttemptRule::Repeat(Repetition {
            count: None,
            time: Some(Duration::ZERO),
            after_failure: RepeatAfterFailure::GoOn,
        });
        assert_eq!(decide(timed, &[Passed]), (false, Outcome::Passed));
    }

    #[test]
    fn attempts_side_by_side_are_as_many_as_one_after_another() {
        let allows = |count, after_failure, done: &[Verdict], running| {
            let rule = AttemptRule::Repeat(Repetition {
                count: NonZeroU32::new(count),
                time: None,
                after_failure,
            });
            rule.allows_another(&attempts(done), running, Instant::now())
        };
        let go_on = RepeatAfterFailure::GoOn;
        assert!(allows(3, go_on, &[Passed], 1));
        assert!(!allows(3, go_on, &[Passed], 2));
        assert!(allows(4, go_on, &[Failed, Passed], 1));
        assert!(allows(1, go_on, &[], 0));
        assert!(!allows(9, go_on, &[Interrupted, Passed], 1));
        let stop = RepeatAfterFailure::Stop;
        assert!(allows(0, stop, &[Passed, Passed], 7));
        assert!(!allows(0, stop, &[Failed, Passed], 1));
    }

    #[test]
    fn the_first_failure_is_kept_whole() {
        let folder = |rule: AttemptRule, verdicts: &[Verdict]| {
            let folder = rule.folder(Path::new("/o/t"), &attempts(verdicts));
            folder.display().to_string()
        };
        let retry = AttemptRule::Retry(2);
        assert_eq!(folder(retry, &[]), "/o/t");
        assert_eq!(folder(retry, &[Failed]), "/o/t/attempt-2");
        let repeat = AttemptRule::Repeat(Repetition {
            count: None,
            time: None,
            after_failure: RepeatAfterFailure::GoOn,
        });
        assert_eq!(folder(repeat, &[Passed, Passed]), "/o/t");
        assert_eq!(folder(repeat, &[Passed, Failed, Passed]), "/o/t/later");
    }
}
