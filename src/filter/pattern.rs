//! Patterns of names: `*` is any text, `?` any character.

use std::str::FromStr;

use regex_lite::{Regex, escape};
use thiserror::Error;

use super::TestSubject;

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a pattern of names must not be empty")]
pub struct PatternError;

/// A pattern that a whole name fits, or does not.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError);
        }
        let parts = text.chars().map(|letter| match letter {
            '*' => ".*".to_owned(),
            '?' => ".".to_owned(),
            other => escape(other.encode_utf8(&mut [0; 4])),
        });
        let expression = format!("(?s)^{}$", parts.collect::<String>());
        Regex::new(&expression).map(Self).map_err(|_| PatternError)
    }
}

impl Pattern {
    /// Whether a name fits.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        self.0.is_match(name)
    }

    /// Whether the name, the attribute path or the label of a test fits.
    #[must_use]
    pub fn names(&self, test: &TestSubject<'_>) -> bool {
        [test.name, test.attribute, test.label]
            .into_iter()
            .any(|name| self.fits(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_name_fits() {
        let fits = |pattern: &str, name: &str| pattern.parse::<Pattern>().unwrap().fits(name);
        assert!(fits("post*", "postgresql") && fits("*.basic", "wireguard.basic"));
        assert!(fits("a?c", "abc") && !fits("a?c", "abbc"));
        assert!(!fits("a.c", "abc") && !fits("a", "ab"));
        assert_eq!("".parse::<Pattern>().unwrap_err(), PatternError);
    }
}
