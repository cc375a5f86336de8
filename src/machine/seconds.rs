//! Lengths of time as scripts give them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A length of time in seconds, which may be any number.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(f64);

impl Seconds {
    /// The duration: none for what is no length of time, and one that never
    /// ends for what is too long.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::try_from_secs_f64(self.0).unwrap_or(if self.0 > 0.0 {
            Duration::MAX / 4
        } else {
            Duration::ZERO
        })
    }
}

impl From<f64> for Seconds {
    fn from(seconds: f64) -> Self {
        Self(seconds)
    }
}

/// Two are the same if they are written the same: recordings compare them.
impl PartialEq for Seconds {
    fn eq(&self, other: &Self) -> bool {
        self.0.total_cmp(&other.0).is_eq()
    }
}

impl Eq for Seconds {}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_never_negative_or_endless() {
        assert_eq!(Seconds(-1.0).duration(), Duration::ZERO);
        assert_eq!(Seconds(f64::NAN).duration(), Duration::ZERO);
        assert!(Seconds(f64::INFINITY).duration() > Duration::from_secs(1_000_000));
    }
}
