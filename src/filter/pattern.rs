//! Patterns of names: `*` is any text, `?` any character.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::TestSubject;

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a pattern of names must not be empty")]
pub struct PatternError;

/// A pattern that a whole name fits, or does not: the pieces between its `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<String>);

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError);
        }
        Ok(Self(text.split('*').map(str::to_owned).collect()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("*"))
    }
}

impl Pattern {
    /// Whether a name fits. Each piece is looked for once, from where the one before it ends.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        let [first, middle @ ..] = self.0.as_slice() else {
            return false;
        };
        let Some(length) = begins_with(name, first) else {
            return false;
        };
        let mut rest = &name[length..];
        let Some((last, middle)) = middle.split_last() else {
            return rest.is_empty();
        };
        for piece in middle {
            match find(rest, piece) {
                Some(end) => rest = &rest[end..],
                None => return false,
            }
        }
        let surplus = rest.chars().count().checked_sub(last.chars().count());
        surplus.is_some_and(|surplus| {
            let end = rest.char_indices().nth(surplus);
            let end = end.map_or("", |(position, _)| &rest[position..]);
            begins_with(end, last) == Some(end.len())
        })
    }

    /// Whether the name, the attribute path or the label of a test fits.
    #[must_use]
    pub fn names(&self, test: &TestSubject<'_>) -> bool {
        [test.name, test.attribute, test.label]
            .into_iter()
            .any(|name| self.fits(name))
    }
}

/// The number of bytes that a piece takes of the start of a text, or `None` if it does not fit there.
fn begins_with(text: &str, piece: &str) -> Option<usize> {
    let mut letters = text.chars();
    for wanted in piece.chars() {
        let letter = letters.next()?;
        if wanted != '?' && wanted != letter {
            return None;
        }
    }
    Some(text.len() - letters.as_str().len())
}

/// Where the first place ends that a piece fits.
fn find(text: &str, piece: &str) -> Option<usize> {
    if !piece.contains('?') {
        return text.find(piece).map(|begin| begin + piece.len());
    }
    let places = text.char_indices().map(|(place, _)| place);
    places
        .chain([text.len()])
        .find_map(|place| Some(place + begins_with(&text[place..], piece)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_whole_name_fits() {
        let fits = |pattern: &str, name: &str| pattern.parse::<Pattern>().unwrap().fits(name);
        assert!(fits("post*", "postgresql") && fits("*.basic", "wireguard.basic"));
        assert!(fits("a?c", "abc") && !fits("a?c", "abbc"));
        assert!(!fits("a.c", "abc") && !fits("a", "ab"));
        assert_eq!("".parse::<Pattern>().unwrap_err(), PatternError);
    }

    /// As the definition says it.
    fn fits_by_definition(pattern: &[char], name: &[char]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (['*', rest @ ..], _) => {
                (0..=name.len()).any(|taken| fits_by_definition(rest, &name[taken..]))
            }
            ([letter, rest @ ..], [first, others @ ..]) => {
                (*letter == '?' || letter == first) && fits_by_definition(rest, others)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_pattern_fits_as_it_is_defined(pattern in "[ab*?]{1,8}", name in "[ab]{0,8}") {
            let letters: Vec<char> = pattern.chars().collect();
            let characters: Vec<char> = name.chars().collect();
            let parsed: Pattern = pattern.parse().unwrap();
            prop_assert_eq!(parsed.fits(&name), fits_by_definition(&letters, &characters));
            prop_assert_eq!(&parsed.to_string().parse::<Pattern>().unwrap(), &parsed);
        }

        #[test]
        fn any_pattern_and_any_name(pattern: String, name: String) {
            if let Ok(pattern) = pattern.parse::<Pattern>() {
                let _ = pattern.fits(&name);
            }
        }
    }

    #[test]
    fn a_long_pattern_takes_no_stack_and_little_time() {
        let pattern: Pattern = "*a".repeat(50_000).parse().unwrap();
        assert!(pattern.fits(&"a".repeat(50_000)));
        assert!(!pattern.fits(&"b".repeat(50_000)));
    }
}
