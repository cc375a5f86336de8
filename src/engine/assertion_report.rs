//! The values of a failed assertion, in its report.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::fmt::Write;

use super::raised::{Explanation, WrittenValue};
use crate::event_bus::Events;
use crate::model::event::Failure;

/// How many values of an assertion are shown, and how much of each expression, in characters.
const MOST_VALUES: usize = 12;
const LONGEST_EXPRESSION: usize = 80;

/// Adds the values of a failed assertion of `script` to its report. Values that are too long for it are saved in a file.
pub(super) fn explain_assertion(
    mut explanation: Explanation,
    script: &str,
    events: Option<&Events>,
    failure: &mut Failure,
) {
    let mut values = Values::default();
    // The outer ones first.
    explanation
        .expressions
        .sort_by_key(|it| (it.begin, Reverse(it.end)));
    for it in explanation.expressions {
        let text = script.get(it.begin..it.end).unwrap_or_default();
        values.add(text, it.value);
    }
    for it in explanation.variables {
        values.add(&it.name, it.value);
    }
    failure.variables = values.shown;
    failure.difference = explanation.difference;
    if let (Some(events), false) = (events, values.whole.is_empty()) {
        failure
            .files
            .extend(events.keep("assertion", "txt", &values.whole));
    }
}

/// The values to show.
#[derive(Default)]
struct Values {
    known: HashSet<String>,
    shown: Vec<(String, String)>,
    /// The values that are too long to be shown, whole.
    whole: String,
}

impl Values {
    fn add(&mut self, expression: &str, value: Option<WrittenValue>) {
        let words: Vec<&str> = expression.split_whitespace().collect();
        let mut name = words.join(" ");
        if self.shown.len() == MOST_VALUES || !self.known.insert(name.clone()) {
            return;
        }
        let Some(WrittenValue { short, whole }) = value.filter(|value| value.short != name) else {
            return;
        };
        if let Some(whole) = whole {
            let _ = writeln!(self.whole, "{name} = {whole}");
        }
        if let Some((end, _)) = name.char_indices().nth(LONGEST_EXPRESSION) {
            name.truncate(end);
            name.push('…');
        }
        self.shown.push((name, short));
    }
}
