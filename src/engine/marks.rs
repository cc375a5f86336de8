//! The changes that an interpreter outside makes in the texts of a script: the marks of `instrument.py`.

use rustpython_vm::compiler::ast::Stmt;
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
    /// Whether each statement can be stopped at.
    steps: bool,
}

/// Returns the changes of a module beside the test; none of a text that is no Python.
pub(super) fn marks_of(text: &str) -> Marks {
    marks_with(text, |_| Vec::new())
}

fn marks_with(text: &str, subtests: impl FnOnce(&[Stmt]) -> Vec<u32>) -> Marks {
    let Ok(parsed) = parser::parse_module(text) else {
        return Marks::default();
    };
    let mut suite = parsed.into_syntax().body;
    Marks {
        subtests: subtests(&suite),
        steps: false,
        expressions: expression_marks(&mut suite),
    }
}

/// Returns the changes of the script. If only some subtests are wanted, the others can be skipped.
pub(super) fn marks_of_script(state: &EngineState) -> Marks {
    let host = state.host();
    let selection = host.and_then(|host| Some((host.subtests().only?, host)));
    let marks = marks_with(state.script.source_map.script(), |suite| {
        let Some((only, host)) = selection else {
            return Vec::new();
        };
        host.enter_subtests(holders(suite, &only));
        subtest_begins(suite)
    });
    Marks {
        steps: state.script.stop.is_some(),
        ..marks
    }
}
