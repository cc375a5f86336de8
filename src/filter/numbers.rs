//! Comparisons of a test's numbers.

use std::time::Duration;

use jiff::SignedDuration;

/// How a number is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The signs, those that begin like others first.
pub(super) const SIGNS: [(&str, Comparison); 5] = [
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("=", Comparison::Equal),
];

impl Comparison {
    pub(super) fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

/// Reads a length of time above 0, such as `10m`, `1h 30m` or `90s`.
#[must_use]
pub fn length_of_time(text: &str) -> Option<Duration> {
    let length = Duration::try_from(text.parse::<SignedDuration>().ok()?).ok()?;
    (!length.is_zero()).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn lengths_of_time_are_read_as_they_are_written(seconds in 1..u64::from(u32::MAX), text: String) {
            let length = length_of_time(&format!("{seconds}s"));
            assert_eq!(length, Some(Duration::from_secs(seconds)));
            assert!(length_of_time(&text).is_none_or(|length| !length.is_zero()));
        }
    }
}
