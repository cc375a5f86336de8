//! Stops at a statement of the script: where a user wants to work, or to count how often it is reached.

use ruff_text_size::Ranged;
use rustpython_vm::compiler::ast::visitor::transformer::{self, Transformer};
use rustpython_vm::compiler::ast::visitor::{self, Visitor};
use rustpython_vm::compiler::ast::{self, Expr, Stmt};
use rustpython_vm::compiler::parser;
use serde::{Deserialize, Serialize};

use super::assertions::set_range;
use super::selection::{subtest_name, wrap_in_if};

/// The function that each statement calls first; it is among Python's builtins and returns true.
const STEP: &str = "_snowglobe_step";

/// A statement where a script stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptStop {
    /// The line of the script, from 1.
    pub line: u32,
    /// How often the statement is reached until the script stops, from 1; 0 only counts.
    pub hit: u32,
}

/// A subtest of a script, with the line of its first statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubtestPlace {
    pub name: String,
    pub line: u32,
}

/// Changes a script's tree such that each statement can be stopped at. Positions stay.
pub(super) fn make_steppable(suite: &mut [Stmt], source: &str) {
    Steppable { source }.visit_body(suite);
}

struct Steppable<'a> {
    source: &'a str,
}

impl Transformer for Steppable<'_> {
    fn visit_stmt(&self, statement: &mut Stmt) {
        transformer::walk_stmt(self, statement);
        // It has to be the first of its file.
        let is_future = statement
            .as_import_from_stmt()
            .is_some_and(|import| import.module.as_ref().is_some_and(|it| it == "__future__"));
        if is_future {
            return;
        }
        let range = statement.range();
        let Some(mut call) = call_template(line_of(self.source, range.start().to_usize())) else {
            return;
        };
        call.range_start = range.start();
        call.arguments.range = range;
        set_range(&mut call.func, range);
        for argument in &mut call.arguments.args {
            if let Expr::NumberLiteral(number) = argument {
                number.range = range;
            }
        }
        wrap_in_if(statement, Expr::Call(call));
    }
}

/// A call of the function with a line.
fn call_template(line: u32) -> Option<ast::ExprCall> {
    let parsed = parser::parse_module(&format!("{STEP}({line})\n")).ok()?;
    match parsed.into_suite().into_iter().next()? {
        Stmt::Expr(statement) => statement.value.call_expr(),
        _ => None,
    }
}

/// Returns the lines of a script that a statement is on, as the line where the innermost one begins.
#[must_use]
pub fn statement_at(script: &str, line: u32) -> Option<u32> {
    let mut reader = LineReader {
        source: script,
        found: Vec::new(),
    };
    if let Ok(parsed) = parser::parse_module(script) {
        reader.visit_body(parsed.suite());
    }
    let lines = reader.found;
    let around = lines
        .iter()
        .filter(|(first, last)| (*first..=*last).contains(&line));
    around.map(|(first, _)| *first).max()
}

/// Returns the subtests of a script whose names are written out.
#[must_use]
pub fn subtests_of(script: &str) -> Vec<SubtestPlace> {
    let mut reader = Subtests {
        source: script,
        found: Vec::new(),
    };
    if let Ok(parsed) = parser::parse_module(script) {
        reader.visit_body(parsed.suite());
    }
    reader.found
}

/// Finds the first and the last line of each statement; of a compound one, those of its head.
struct LineReader<'a> {
    source: &'a str,
    found: Vec<(u32, u32)>,
}

impl<'a> Visitor<'a> for LineReader<'_> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        let line = |offset: ruff_text_size::TextSize| line_of(self.source, offset.to_usize());
        let first = line(statement.start());
        let last = match body_of(statement).and_then(|body| body.first()) {
            Some(inner) => line(inner.start()).saturating_sub(1).max(first),
            None => line(statement.end()),
        };
        self.found.push((first, last));
        visitor::walk_stmt(self, statement);
    }
}

fn body_of(statement: &Stmt) -> Option<&[Stmt]> {
    Some(match statement {
        Stmt::With(with) => &with.body,
        Stmt::For(each) => &each.body,
        Stmt::While(during) => &during.body,
        Stmt::If(choice) => &choice.body,
        Stmt::Try(attempt) => &attempt.body,
        Stmt::FunctionDef(function) => &function.body,
        Stmt::ClassDef(class) => &class.body,
        _ => return None,
    })
}

struct Subtests<'a> {
    source: &'a str,
    found: Vec<SubtestPlace>,
}

impl<'a> Visitor<'a> for Subtests<'_> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        if let Stmt::With(with) = statement
            && let Some(first) = with.body.first()
        {
            let line = line_of(self.source, first.start().to_usize());
            let names = with
                .items
                .iter()
                .filter_map(|item| subtest_name(&item.context_expr));
            self.found.extend(names.map(|name| SubtestPlace {
                name: name.to_owned(),
                line,
            }));
        }
        visitor::walk_stmt(self, statement);
    }
}

/// The line of a byte of a text, from 1.
fn line_of(text: &str, offset: usize) -> u32 {
    let newlines = text[..offset].matches('\n').count();
    u32::try_from(newlines)
        .unwrap_or(u32::MAX)
        .saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "start_all()\n\nwith subtest(\"one\"):\n    # what it does\n    a.succeed(\n        \"x\"\n    )\nfor x in y:\n    with subtest(\"two\"), z:\n        pass\n";

    #[test]
    fn lines_belong_to_statements() {
        let found: Vec<Option<u32>> = (1..=11).map(|line| statement_at(SCRIPT, line)).collect();
        let expected = [
            Some(1),
            None,
            Some(3),
            Some(3),
            Some(5),
            Some(5),
            Some(5),
            Some(8),
            Some(9),
            Some(10),
            None,
        ];
        assert_eq!(found, expected);
        assert_eq!(statement_at("not python (", 1), None);
    }

    #[test]
    fn subtests_begin_at_their_first_statement() {
        let found: Vec<(String, u32)> = subtests_of(SCRIPT)
            .into_iter()
            .map(|place| (place.name, place.line))
            .collect();
        assert_eq!(found, [("one".to_owned(), 5), ("two".to_owned(), 10)]);
    }
}
