//! A time limit as nixpkgs' drivers take it: seconds, or a duration of ISO 8601 (pydantic's `timedelta`, since 26.11).

use jiff::{Span, SpanRelativeTo, Unit};
use serde::{Deserialize, Deserializer};

/// The global timeout of a test, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimeLimit(pub u64);

impl TimeLimit {
    /// Reads a number of seconds, or a duration; a part of a second counts as a whole one.
    pub fn parse(text: &str) -> Option<Self> {
        let seconds = text.parse::<f64>().ok().or_else(|| {
            let span: Span = text.starts_with('P').then(|| text.parse().ok())??;
            let days_are_whole = SpanRelativeTo::days_are_24_hours();
            span.total((Unit::Second, days_are_whole)).ok()
        })?;
        Self::of_seconds(seconds)
    }

    fn of_seconds(seconds: f64) -> Option<Self> {
        let whole = seconds.ceil();
        // The largest number that an f64 has with all those before it.
        let is_fitting = (0.0..=9_007_199_254_740_992.0).contains(&whole);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole, and in the range"
        )]
        is_fitting.then_some(Self(whole as u64))
    }
}

impl<'de> Deserialize<'de> for TimeLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Seconds(f64),
            Text(String),
        }
        let limit = match Form::deserialize(deserializer) {
            Ok(Form::Seconds(seconds)) => Self::of_seconds(seconds),
            Ok(Form::Text(text)) => Self::parse(&text),
            Err(_) => None,
        };
        limit.ok_or_else(|| {
            serde::de::Error::custom(
                "global_timeout is no time limit: a number of seconds, or a duration such as \"PT1H\"",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_several_forms() {
        for (json, seconds) in [
            ("600", 600),
            ("600.0", 600),
            ("0.5", 1),
            ("\"600\"", 600),
            ("\"PT1H\"", 3600),
            ("\"PT3600S\"", 3600),
            ("\"P1DT1.5S\"", 86_402),
            ("\"P7D\"", 604_800),
        ] {
            let limit: TimeLimit = serde_json::from_str(json).unwrap();
            assert_eq!(limit, TimeLimit(seconds), "{json}");
        }
        for json in [
            "-1",
            "\"-PT1H\"",
            "\"P1M\"",
            "\"soon\"",
            "null",
            "[1]",
            "1e300",
            "\"NaN\"",
        ] {
            assert!(serde_json::from_str::<TimeLimit>(json).is_err(), "{json}");
        }
    }
}
