//! The changes that an interpreter outside makes in the texts of a script: the marks of `instrument.py`.

use rustpython_vm::compiler::parser;
use serde::Serialize;

use super::assertions::{ExpressionMark, expression_marks};
use super::selection::{holders, subtest_begins};
use super::state::EngineState;

/// The changes of a text.
#[derive(Debug, Default, Serialize)]
pub(super) struct Marks {
    expressions: Vec<ExpressionMark>,
    /// Where statements of subtests that can be skipped begin, in bytes.
    subtests: Vec<u32>,
}

/// Returns the changes of a module beside the test; none of a text that is no Python.
pub(super) fn marks_of(text: &str) -> Marks {
    let Ok(parsed) = parser::parse_module(text) else {
        return Marks::default();
    };
    Marks {
        expressions: expression_marks(&mut parsed.into_syntax().body),
        subtests: Vec::new(),
    }
}

/// Returns the changes of the script. If only some subtests are wanted, the others can be skipped.
pub(super) fn marks_of_script(state: &EngineState) -> Marks {
    let text = state.script.source_map.script();
    let mut marks = marks_of(text);
    if let Some(host) = state.host()
        && let Some(only) = host.subtests().only
        && let Ok(parsed) = parser::parse_module(text)
    {
        host.enter_subtests(holders(parsed.suite(), &only));
        marks.subtests = subtest_begins(parsed.suite());
    }
    marks
}
