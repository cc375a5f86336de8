//! Expressions over tests, in the style of cargo-nextest: `test(~postgres) & !tag(slow)`.

use std::str::FromStr;

use regex_lite::Regex;
use thiserror::Error;

use super::numbers::{Comparison, SIGNS, length_of_time};
use super::{Pattern, TestSubject};
use crate::model::outcome::Outcome;

/// The backends of a test's machines that a filter can name.
const BACKENDS: [&str; 4] = ["vm", "container", "mixed", "none"];

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}\n  {text}\n  {:>width$}", '^', width = self.column())]
pub struct ExpressionError {
    text: String,
    /// The first byte of the error in the text.
    position: usize,
    reason: String,
}

impl ExpressionError {
    /// From 1, in characters.
    fn column(&self) -> usize {
        self.text[..self.position].chars().count() + 1
    }
}

/// Fits a test, or does not.
#[derive(Debug, Clone)]
pub enum Expression {
    All,
    None,
    /// The name, or the attribute path.
    Named(Pattern),
    Test(TextMatcher),
    Attribute(TextMatcher),
    Tag(TextMatcher),
    Machines(Comparison, usize),
    /// `vm`, `container` or `mixed`.
    Backend(TextMatcher),
    /// How the test ended last.
    Last(TextMatcher),
    /// How long it takes, in seconds.
    Duration(Comparison, f64),
    Not(Box<Expression>),
    And(Vec<Expression>),
    Or(Vec<Expression>),
}

/// Fits a text, or does not.
#[derive(Debug, Clone)]
pub enum TextMatcher {
    Equals(String),
    Contains(String),
    Regex(Regex),
    Glob(Pattern),
}

impl FromStr for Expression {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        let mut reader = Reader {
            text,
            position: 0,
            depth: 0,
        };
        let expression = reader.or()?;
        if reader.rest().is_empty() {
            Ok(expression)
        } else {
            Err(reader.error("expected `&`, `|` or the end"))
        }
    }
}

impl Expression {
    /// Whether a test fits; None if that shows only when the test is evaluated.
    #[must_use]
    pub fn fits(&self, test: &TestSubject<'_>) -> Option<bool> {
        let last = test.last.as_ref();
        let known = match self {
            Self::All => true,
            Self::None => false,
            Self::Named(pattern) => pattern.names(test),
            Self::Test(matcher) => matcher.fits(test.name),
            Self::Attribute(matcher) => matcher.fits(test.attribute),
            Self::Tag(matcher) => test.tags.iter().any(|tag| matcher.fits(tag)),
            Self::Machines(comparison, number) => comparison.holds(&test.machines, number),
            Self::Backend(matcher) => matcher.fits(test.backend?),
            Self::Last(matcher) => last.is_some_and(|last| matcher.fits(last.outcome.name())),
            Self::Duration(comparison, limit_s) => last
                .and_then(|last| last.duration_s)
                .is_some_and(|duration_s| comparison.holds(&duration_s, limit_s)),
            Self::Not(inner) => !inner.fits(test)?,
            Self::And(all) => return decided(all, test, false),
            Self::Or(all) => return decided(all, test, true),
        };
        Some(known)
    }

    /// Whether it asks what machines are, which shows only when tests are evaluated.
    #[must_use]
    pub fn needs_backends(&self) -> bool {
        match self {
            Self::Backend(_) => true,
            Self::Not(inner) => inner.needs_backends(),
            Self::And(all) | Self::Or(all) => all.iter().any(Self::needs_backends),
            _ => false,
        }
    }
}

/// Whether `all` come to `decisive`, which one of them suffices for; `None` if none does, and one is not known yet.
fn decided(all: &[Expression], test: &TestSubject<'_>, decisive: bool) -> Option<bool> {
    let mut is_known = true;
    for one in all {
        match one.fits(test) {
            Some(value) if value == decisive => return Some(decisive),
            Some(_) => {}
            None => is_known = false,
        }
    }
    is_known.then_some(!decisive)
}

impl TextMatcher {
    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Equals(wanted) => text == wanted,
            Self::Contains(part) => text.contains(part),
            Self::Regex(regex) => regex.is_match(text),
            Self::Glob(pattern) => pattern.fits(text),
        }
    }
}

/// Reads an expression from left to right. `!` binds closest, then `&`, then `|`.
struct Reader<'a> {
    text: &'a str,
    position: usize,
    /// How many parentheses are open.
    depth: usize,
}

/// How many characters are shown before and after an error.
const SHOWN_AROUND: usize = 60;

/// How many parentheses may be open: what evaluates an expression is as deep.
const DEEPEST: usize = 64;

impl Reader<'_> {
    fn or(&mut self) -> Result<Expression, ExpressionError> {
        let first = self.and()?;
        let mut all = vec![first];
        while self.take("|") {
            all.push(self.and()?);
        }
        Ok(if all.len() == 1 {
            all.remove(0)
        } else {
            Expression::Or(all)
        })
    }

    fn and(&mut self) -> Result<Expression, ExpressionError> {
        let first = self.one()?;
        let mut all = vec![first];
        while self.take("&") {
            all.push(self.one()?);
        }
        Ok(if all.len() == 1 {
            all.remove(0)
        } else {
            Expression::And(all)
        })
    }

    fn one(&mut self) -> Result<Expression, ExpressionError> {
        let mut is_negated = false;
        while self.take("!") {
            is_negated = !is_negated;
        }
        let begin = self.position;
        let inner = if self.take("(") {
            if self.depth == DEEPEST {
                self.position = begin;
                return Err(self.error("more parentheses are open than a filter may have"));
            }
            self.depth += 1;
            let inner = self.or()?;
            self.expect(")")?;
            self.depth -= 1;
            inner
        } else {
            self.predicate()?
        };
        Ok(if is_negated {
            Expression::Not(Box::new(inner))
        } else {
            inner
        })
    }

    fn predicate(&mut self) -> Result<Expression, ExpressionError> {
        self.skip_spaces();
        let begin = self.position;
        let is_end = |letter: char| letter.is_whitespace() || "()&|!".contains(letter);
        let name = self.until(is_end).to_owned();
        if !self.rest().starts_with('(') {
            let pattern = name.parse();
            let expected = "expected a predicate such as `test(~part)`, or a pattern of names";
            return pattern
                .map(Expression::Named)
                .map_err(|_| self.error(expected));
        }
        self.position += 1;
        let expression = match name.as_str() {
            "all" => Expression::All,
            "none" => Expression::None,
            "test" => Expression::Test(self.matcher()?),
            "attribute" => Expression::Attribute(self.matcher()?),
            "tag" => Expression::Tag(self.matcher()?),
            "machines" => self.machines()?,
            "backend" => Expression::Backend(self.matcher_of(&BACKENDS)?),
            "last" => Expression::Last(self.matcher_of(&Outcome::ALL.map(Outcome::name))?),
            "duration" => self.duration()?,
            _ => {
                self.position = begin;
                let known = "`test`, `attribute`, `tag`, `machines`, `backend`, `last`, `duration`, `all` and `none`";
                return Err(self.error(&format!(
                    "there is no predicate `{name}`: there are {known}"
                )));
            }
        };
        self.expect(")")?;
        Ok(expression)
    }

    /// A matcher for one of a few texts: one that fits none of them is a mistake.
    fn matcher_of(&mut self, texts: &[&str]) -> Result<TextMatcher, ExpressionError> {
        let begin = self.position;
        let matcher = self.matcher()?;
        if texts.iter().any(|text| matcher.fits(text)) {
            return Ok(matcher);
        }
        self.position = begin;
        Err(self.error(&format!("it fits none of: {}", texts.join(", "))))
    }

    /// `=text`, `~part`, `/regex/` or `#glob`; without a sign a part.
    fn matcher(&mut self) -> Result<TextMatcher, ExpressionError> {
        if self.take("/") {
            let begin = self.position;
            let regex = self.until(|letter| letter == '/').to_owned();
            self.expect("/")?;
            return Regex::new(&regex).map(TextMatcher::Regex).map_err(|error| {
                self.position = begin;
                self.error(&format!("the regular expression is wrong: {error}"))
            });
        }
        let sign = ["=", "~", "#"].into_iter().find(|sign| self.take(sign));
        self.skip_spaces();
        let text = self
            .until(|letter| "()".contains(letter))
            .trim_end()
            .to_owned();
        if text.is_empty() {
            return Err(self
                .error("expected a text, as in `(~part)`, `(=whole)`, `(#glob*)` or `(/regex/)`"));
        }
        match sign {
            Some("=") => Ok(TextMatcher::Equals(text)),
            Some("#") => {
                let pattern = text.parse();
                pattern
                    .map(TextMatcher::Glob)
                    .map_err(|_| self.error("expected a pattern"))
            }
            _ => Ok(TextMatcher::Contains(text)),
        }
    }

    fn machines(&mut self) -> Result<Expression, ExpressionError> {
        let comparison = self.comparison();
        let begin = self.position;
        let number = self.until(|letter| !letter.is_ascii_digit()).parse();
        number
            .map(|number| Expression::Machines(comparison, number))
            .map_err(|_| {
                self.position = begin;
                self.error("expected a number of machines, as in `(2)` or `(>= 2)`")
            })
    }

    fn duration(&mut self) -> Result<Expression, ExpressionError> {
        let comparison = self.comparison();
        let begin = self.position;
        let length = length_of_time(self.until(|letter| letter == ')').trim());
        length
            .map(|length| Expression::Duration(comparison, length.as_secs_f64()))
            .ok_or_else(|| {
                self.position = begin;
                self.error("expected a length of time, as in `(> 90s)` or `(< 10m)`")
            })
    }

    /// The sign before a number; without one it is to be equal.
    fn comparison(&mut self) -> Comparison {
        let sign = SIGNS.into_iter().find(|(sign, _)| self.take(sign));
        self.skip_spaces();
        sign.map_or(Comparison::Equal, |(_, comparison)| comparison)
    }

    fn rest(&self) -> &str {
        &self.text[self.position..]
    }

    fn skip_spaces(&mut self) {
        let rest = self.rest();
        self.position += rest.len() - rest.trim_start().len();
    }

    /// Goes past a sign if it comes next.
    fn take(&mut self, sign: &str) -> bool {
        self.skip_spaces();
        let found = self.rest().starts_with(sign);
        if found {
            self.position += sign.len();
        }
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), ExpressionError> {
        if self.take(sign) {
            Ok(())
        } else {
            Err(self.error(&format!("expected `{sign}`")))
        }
    }

    /// Goes to the first character that is an end, or to the last one.
    fn until(&mut self, is_end: impl Fn(char) -> bool) -> &str {
        let begin = self.position;
        let length = self.rest().find(is_end).unwrap_or(self.rest().len());
        self.position += length;
        &self.text[begin..self.position]
    }

    fn error(&self, reason: &str) -> ExpressionError {
        // What is far from the error does not help, and control characters would move the caret.
        let before = self.text[..self.position]
            .char_indices()
            .rev()
            .take(SHOWN_AROUND);
        let begin = before.last().map_or(self.position, |(place, _)| place);
        let after = self.text[self.position..].char_indices().nth(SHOWN_AROUND);
        let end = after.map_or(self.text.len(), |(place, _)| self.position + place);
        let plain = |text: &str| text.replace(|letter: char| letter.is_control(), " ");
        let cut = |is_cut: bool| if is_cut { "…" } else { "" };
        let before = cut(begin > 0).to_owned() + &plain(&self.text[begin..self.position]);
        let after = plain(&self.text[self.position..end]) + cut(end < self.text.len());
        ExpressionError {
            position: before.len(),
            text: before + &after,
            reason: reason.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::filter::LastRun;

    /// Prints an expression as a user writes it.
    fn print(expression: &Expression) -> String {
        let joined = |all: &[Expression], sign: &str| {
            let each: Vec<String> = all.iter().map(print_operand).collect();
            each.join(sign)
        };
        match expression {
            Expression::All => "all()".to_owned(),
            Expression::None => "none()".to_owned(),
            Expression::Named(pattern) => pattern.to_string(),
            Expression::Test(matcher) => format!("test({})", print_matcher(matcher)),
            Expression::Attribute(matcher) => format!("attribute({})", print_matcher(matcher)),
            Expression::Tag(matcher) => format!("tag({})", print_matcher(matcher)),
            Expression::Machines(comparison, number) => {
                format!("machines({} {number})", print_sign(*comparison))
            }
            Expression::Backend(matcher) => format!("backend({})", print_matcher(matcher)),
            Expression::Last(matcher) => format!("last({})", print_matcher(matcher)),
            Expression::Duration(comparison, limit_s) => {
                format!("duration({} {limit_s}s)", print_sign(*comparison))
            }
            Expression::Not(inner) => format!("!{}", print_operand(inner)),
            Expression::And(all) => joined(all, " & "),
            Expression::Or(all) => joined(all, " | "),
        }
    }

    fn print_operand(expression: &Expression) -> String {
        let text = print(expression);
        match expression {
            Expression::Not(_) | Expression::And(_) | Expression::Or(_) => format!("({text})"),
            _ => text,
        }
    }

    fn print_matcher(matcher: &TextMatcher) -> String {
        match matcher {
            TextMatcher::Equals(text) => format!("={text}"),
            TextMatcher::Contains(text) => format!("~{text}"),
            TextMatcher::Regex(regex) => format!("/{regex}/"),
            TextMatcher::Glob(pattern) => format!("#{pattern}"),
        }
    }

    fn print_sign(comparison: Comparison) -> &'static str {
        let found = SIGNS.into_iter().find(|(_, other)| *other == comparison);
        found.unwrap().0
    }

    fn any_pattern() -> impl Strategy<Value = Pattern> {
        "[a-zé*?][a-z0-9é.*?-]{0,8}".prop_map(|text| text.parse().unwrap())
    }

    fn any_matcher() -> impl Strategy<Value = TextMatcher> {
        let text = || "[a-z0-9é&|!*/=~#]([a-z0-9 é&|!*/=~#]{0,8}[a-z&|!])?";
        prop_oneof![
            text().prop_map(TextMatcher::Equals),
            text().prop_map(TextMatcher::Contains),
            "[a-z0-9é]{0,4}[.*a-z]?".prop_filter_map("a regular expression", |text| {
                Regex::new(&text).ok().map(TextMatcher::Regex)
            }),
            any_pattern().prop_map(TextMatcher::Glob),
        ]
    }

    fn any_expression() -> impl Strategy<Value = Expression> {
        let comparison = || (0..SIGNS.len()).prop_map(|index| SIGNS[index].1);
        let exactly = |text: &str| TextMatcher::Equals(text.to_owned());
        let leaf = prop_oneof![
            Just(Expression::All),
            Just(Expression::None),
            any_pattern().prop_map(Expression::Named),
            any_matcher().prop_map(Expression::Test),
            any_matcher().prop_map(Expression::Attribute),
            any_matcher().prop_map(Expression::Tag),
            (comparison(), any::<usize>()).prop_map(|(c, n)| Expression::Machines(c, n)),
            (0..BACKENDS.len())
                .prop_map(move |index| Expression::Backend(exactly(BACKENDS[index]))),
            (0..Outcome::ALL.len())
                .prop_map(move |index| Expression::Last(exactly(Outcome::ALL[index].name()))),
            (comparison(), 1..u32::MAX).prop_map(|(c, s)| Expression::Duration(c, f64::from(s))),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                inner
                    .clone()
                    .prop_map(|inner| Expression::Not(Box::new(inner))),
                vec(inner.clone(), 2..4).prop_map(Expression::And),
                vec(inner, 2..4).prop_map(Expression::Or),
            ]
        })
    }

    fn fits(expression: &str) -> bool {
        let test = TestSubject {
            name: "postgresql-jit",
            attribute: "databases.postgresql",
            label: "t.nix:databases.postgresql",
            machines: 2,
            tags: &["slow".to_owned(), "database".to_owned()],
            backend: Some("container"),
            last: Some(LastRun {
                outcome: Outcome::NotRun,
                duration_s: Some(61.5),
            }),
        };
        let expression = expression.parse::<Expression>().unwrap();
        expression.fits(&test).unwrap()
    }

    #[test]
    fn what_machines_are_shows_when_a_test_is_evaluated() {
        let fits = |text: &str| {
            let expression = text.parse::<Expression>().unwrap();
            expression.fits(&TestSubject::default())
        };
        for (text, expected) in [
            ("backend(vm)", None),
            ("!backend(vm)", None),
            ("backend(vm) & all()", None),
            ("backend(vm) & none()", Some(false)),
            ("all() | backend(vm)", Some(true)),
            ("none() | backend(vm)", None),
            ("last(passed) | duration(> 1s)", Some(false)),
        ] {
            assert_eq!(fits(text), expected, "{text}");
        }
    }

    #[test]
    fn predicates_fit_what_a_test_is() {
        for yes in [
            "postgres*",
            "databases.*",
            "test(postgres)",
            "test(~ postgres )",
            "test(=postgresql-jit)",
            "test(#*-jit)",
            "test(/^post.*jit$/)",
            "attribute(=databases.postgresql)",
            "tag(=slow)",
            "machines(2)",
            "machines(>= 2)",
            "machines(<3)",
            "backend(=container)",
            "last(not run)",
            "duration(> 1m)",
            "duration(<= 61500ms)",
            "all()",
        ] {
            assert!(fits(yes), "{yes}");
        }
        for no in [
            "mysql",
            "postgresql",
            "test(=postgresql)",
            "tag(fast)",
            "machines(> 2)",
            "backend(vm)",
            "last(passed)",
            "duration(< 1m)",
            "none()",
        ] {
            assert!(!fits(no), "{no}");
        }
    }

    #[test]
    fn not_binds_closer_than_and_and_that_than_or() {
        assert!(fits("tag(slow) | tag(fast) & tag(none)"));
        assert!(!fits("(tag(slow) | tag(fast)) & tag(none)"));
        assert!(fits("!tag(fast) & test(~post)"));
        assert!(!fits("!(tag(fast) | test(~post))"));
        assert!(fits("!!all()"));
    }

    #[test]
    fn errors_show_the_place() {
        let message = |text: &str| text.parse::<Expression>().unwrap_err().to_string();
        assert_eq!(
            message("test(~ä & tag(slow)"),
            "expected `)`\n  test(~ä & tag(slow)\n               ^"
        );
        assert_eq!(
            message("test(~x) &"),
            "expected a predicate such as `test(~part)`, or a pattern of names\n  test(~x) &\n            ^"
        );
        assert_eq!(message("(a"), "expected `)`\n  (a\n    ^");
        assert_eq!(
            message("a & taag(x)"),
            "there is no predicate `taag`: there are `test`, `attribute`, `tag`, `machines`, `backend`, `last`, `duration`, `all` and `none`\n  a & taag(x)\n      ^"
        );
        assert_eq!(
            message("last(bogus)"),
            "it fits none of: passed, flaky, failed, error, not run, interrupted, left out, session closed\n  last(bogus)\n       ^"
        );
        assert_eq!(
            message("machines(x)"),
            "expected a number of machines, as in `(2)` or `(>= 2)`\n  machines(x)\n           ^"
        );
        assert!(message("duration(> soon)").starts_with("expected a length of time"));
        assert!(message("test(/(/)").starts_with("the regular expression is wrong: "));
        assert!(message("test()").starts_with("expected a text"));
    }

    #[test]
    fn filters_of_any_depth_and_length() {
        let error = |text: String| text.parse::<Expression>().unwrap_err().to_string();
        for text in [
            "(".repeat(100_000),
            "!(".repeat(100_000),
            "a".repeat(70_000) + " &",
        ] {
            let error = error(text);
            assert!(
                error.len() < 400 && error.matches('^').count() == 1,
                "{error}"
            );
        }
        for (text, expected) in [
            ("!".repeat(100_000) + "all()", true),
            ("!".repeat(100_001) + "all()", false),
            ("none()|".repeat(100_000) + "all()", true),
            ("all()&".repeat(100_000) + "none()", false),
        ] {
            assert_eq!(fits(&text), expected);
        }
    }

    proptest! {
        #[test]
        fn expressions_are_read_as_they_are_printed(expression in any_expression()) {
            let text = print(&expression);
            let read: Expression = text.parse().unwrap();
            assert_eq!(format!("{read:?}"), format!("{expression:?}"), "{text}");
        }

        #[test]
        fn any_text_is_a_filter_or_an_error(text in "[!()&|a*~=/# <>0-9é]{0,200}") {
            match text.parse::<Expression>() {
                Ok(expression) => {
                    let _ = expression.fits(&TestSubject::default());
                    let _ = expression.needs_backends();
                }
                Err(error) => assert!(error.to_string().len() < 2000),
            }
        }
    }
}
