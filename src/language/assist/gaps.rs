//! The check of a script of which some text is not known yet.

use std::ops::Range;

use rustpython_vm::compiler::parser;

use super::reading::bytes;
use crate::language::check::{Finding, Parts, TestContext, Toggle, check, with_deep_stack};

/// Checks a script. Text in `gaps` may be anything: outside of strings, it may define names.
#[must_use]
pub fn check_around(
    text: &str,
    gaps: &[Range<usize>],
    context: &TestContext,
    parts: Parts,
) -> Vec<Finding> {
    let code = gaps_in_code(text, gaps);
    let parts = match code[..] {
        [] => parts,
        _ => Parts {
            lint: Toggle::Off,
            ..parts
        },
    };
    let mut findings = check(text, context, parts);
    findings.retain(|finding| {
        let Some(range) = &finding.range else {
            return true;
        };
        let lines = lines_around(text, range);
        !code
            .iter()
            .any(|gap| lines.start <= gap.end && gap.start <= lines.end)
    });
    findings
}

/// The gaps that are not within a string.
fn gaps_in_code(text: &str, gaps: &[Range<usize>]) -> Vec<Range<usize>> {
    if gaps.is_empty() {
        return Vec::new();
    }
    with_deep_stack(|| {
        let options = parser::ParseOptions::from(parser::Mode::Module);
        let parsed = parser::parse_unchecked(text, options);
        let tokens: Vec<Range<usize>> = parsed.tokens().iter().map(bytes).collect();
        let is_in_string = |gap: &&Range<usize>| {
            let is_around = |token: &Range<usize>| {
                token.start <= gap.start && gap.end <= token.end && token.len() > gap.len()
            };
            tokens.iter().any(is_around)
        };
        let outside = gaps.iter().filter(|gap| !is_in_string(gap));
        outside.cloned().collect()
    })
}

fn lines_around(text: &str, range: &Range<usize>) -> Range<usize> {
    let start = text[..range.start].rfind('\n').map_or(0, |at| at + 1);
    let end = text[range.end..].find('\n');
    start..end.map_or(text.len(), |at| range.end + at)
}
