//! The order of statements: statements that are never reached, and subtests with one name.

use std::ops::Range;

use ruff_text_size::Ranged;
use rustpython_vm::compiler::ast::visitor::{self, Visitor};
use rustpython_vm::compiler::ast::{Expr, Stmt};

use super::Finding;

pub(super) fn check(suite: &[Stmt]) -> Vec<Finding> {
    let mut reader = FlowReader::default();
    reader.visit_body(suite);
    reader.findings
}

/// A subtest, and the bytes of its name's literal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubtestPlace {
    pub name: String,
    pub range: Range<usize>,
}

/// The subtests in their order, each name once.
pub(super) fn subtests(suite: &[Stmt]) -> Vec<SubtestPlace> {
    let mut reader = FlowReader::default();
    reader.visit_body(suite);
    reader.subtests
}

#[derive(Default)]
struct FlowReader {
    subtests: Vec<SubtestPlace>,
    findings: Vec<Finding>,
}

impl FlowReader {
    fn find(&mut self, code: &'static str, message: String, at: &impl Ranged) {
        self.findings
            .push(Finding::warning(code, message, bytes(at)));
    }
}

impl<'a> Visitor<'a> for FlowReader {
    fn visit_body(&mut self, body: &'a [Stmt]) {
        for pair in body.windows(2) {
            let word = match &pair[0] {
                Stmt::Return(_) => "return",
                Stmt::Raise(_) => "raise",
                Stmt::Break(_) => "break",
                Stmt::Continue(_) => "continue",
                _ => continue,
            };
            // `return` before a `yield` is how an empty generator is written.
            let yields = matches!(&pair[1], Stmt::Expr(it) if it.value.is_yield_expr());
            if !yields {
                let message = format!("never reached: `{word}` comes before");
                self.find("unreachable", message, &pair[1]);
            }
            break;
        }
        visitor::walk_body(self, body);
    }

    fn visit_stmt(&mut self, statement: &'a Stmt) {
        if let Stmt::With(with) = statement {
            for item in &with.items {
                let Some((name, literal)) = subtest(&item.context_expr) else {
                    continue;
                };
                if self.subtests.iter().any(|other| other.name == name) {
                    let message =
                        format!("a second subtest {name:?}: reports cannot tell them apart");
                    self.find("subtest-twice", message, literal);
                } else {
                    self.subtests.push(SubtestPlace {
                        name: name.to_owned(),
                        range: bytes(literal),
                    });
                }
            }
        }
        visitor::walk_stmt(self, statement);
    }
}

/// The name in `subtest("name")`.
fn subtest(expression: &Expr) -> Option<(&str, &Expr)> {
    let call = expression.as_call_expr()?;
    if call.func.as_name_expr()?.id.as_str() != "subtest" {
        return None;
    }
    let argument = call.arguments.args.first()?;
    Some((argument.as_string_literal_expr()?.value.to_str(), argument))
}

fn bytes(node: &impl Ranged) -> Range<usize> {
    node.start().to_usize()..node.end().to_usize()
}
