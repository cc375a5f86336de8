//! Attempts at a test: as many as its rule says.

mod rule;

use std::path::Path;
use std::time::Instant;

use crate::model::event::{Event, Verdict, round};
use crate::model::outcome::Attempt;
use crate::runner::error::RunnerError;

pub use rule::{AttemptRule, RepeatAfterFailure, Repetition};

/// How one attempt has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttemptEnd {
    pub verdict: Verdict,
    pub seed: Option<u64>,
    pub next: Next,
}

/// Whether another attempt may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    ByTheRule,
    Never,
}

/// All attempts at a test.
#[derive(Debug)]
pub(super) struct Attempts {
    pub all: Vec<Attempt>,
    /// Why there are no more of them.
    pub error: Option<RunnerError>,
}

/// Makes the attempts at a test whose output goes to `folder`, in that of its `run`. `once` makes an attempt, whose output goes to the
/// folder that it is given, after those that were made before.
///
/// # Errors
/// Returns an error if the first attempt cannot be made.
pub(super) async fn make_attempts(
    rule: AttemptRule,
    folder: &Path,
    run: &Path,
    mut once: impl AsyncFnMut(&Path, &[Attempt]) -> Result<AttemptEnd, RunnerError>,
) -> Result<Attempts, RunnerError> {
    let begin = Instant::now();
    let mut all: Vec<Attempt> = Vec::new();
    while rule.continues(&all, begin) {
        let at = rule.folder(folder, &all);
        let start = Instant::now();
        let attempt = match once(&at, &all).await {
            Ok(tried) => tried,
            Err(error) if all.is_empty() => return Err(error),
            Err(error) => {
                let error = Some(error);
                return Ok(Attempts { all, error });
            }
        };
        all.push(Attempt {
            verdict: attempt.verdict,
            duration_s: round(start.elapsed().as_secs_f64()),
            // As the reports of the run name it.
            folder: at.strip_prefix(run).unwrap_or(&at).to_owned(),
            seed: attempt.seed,
        });
        if attempt.next == Next::Never {
            break;
        }
    }
    Ok(Attempts { all, error: None })
}

/// Returns the event before another attempt at a test that did not pass; `None` if the number of attempts is not known.
pub(super) fn retry_event(rule: AttemptRule, earlier: &[Attempt]) -> Option<Event> {
    earlier
        .last()
        .filter(|last| last.verdict != Verdict::Passed)?;
    Some(Event::Retrying {
        attempt: u32::try_from(earlier.len()).ok()?.saturating_add(1),
        attempts: rule.most()?,
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[tokio::test]
    async fn what_was_tried_is_kept_when_no_more_can_be() {
        let once = async |_: &Path, earlier: &[Attempt]| match earlier.len() {
            0 => Ok(AttemptEnd {
                verdict: Verdict::Failed,
                seed: None,
                next: Next::ByTheRule,
            }),
            _ => Err(RunnerError::host("cannot go on")(io::Error::other("x"))),
        };
        let folder = Path::new("/run/t");
        let attempt = make_attempts(AttemptRule::Retry(3), folder, Path::new("/run"), once).await;
        let Attempts { all, error } = attempt.unwrap();
        let [first] = all.as_slice() else {
            panic!("{all:?}");
        };
        assert_eq!(first.folder, Path::new("t"));
        assert_eq!(error.unwrap().to_string(), "cannot go on: x");
    }
}
