//! A moment by both clocks: the one that the wall shows and files have, and the
//! one that only goes forward.

use std::time::{Duration, Instant, SystemTime};

/// How far the clocks may drift apart during an evaluation.
const SLACK: Duration = Duration::from_secs(1);

/// When something began.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    wall: SystemTime,
    steady: Instant,
}

impl Moment {
    #[must_use]
    pub fn now() -> Self {
        Self {
            wall: SystemTime::now(),
            steady: Instant::now(),
        }
    }

    /// As the clock of files shows it.
    #[must_use]
    pub fn wall(&self) -> SystemTime {
        self.wall
    }

    /// Whether the clock of files was set since then: their times say nothing
    /// about what came first. A host that slept counts as well.
    #[must_use]
    pub fn clock_was_set(&self) -> bool {
        was_set(self.wall, SystemTime::now(), self.steady.elapsed())
    }
}

fn was_set(before: SystemTime, now: SystemTime, steady: Duration) -> bool {
    now.duration_since(before)
        .map_or(true, |wall| wall.abs_diff(steady) > SLACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_noticed() {
        let before = SystemTime::UNIX_EPOCH + Duration::from_hours(10);
        let after = |seconds: u64| before + Duration::from_secs(seconds);
        let five = Duration::from_secs(5);
        assert!(!was_set(before, after(5), five));
        assert!(was_set(before, before - Duration::from_hours(1), five));
        assert!(was_set(before, after(3600), five));
        assert!(!Moment::now().clock_was_set());
    }
}
