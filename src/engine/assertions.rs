//! Makes assertions remember the values of their expressions: `assert f(x) == 1` becomes an assertion that passes each
//! value through a function, on its way.
//!
//! Nothing is evaluated twice or in another order. `pytest` does the same.

use std::cell::RefCell;

use ruff_text_size::{Ranged, TextRange};
use rustpython_vm::compiler::ast::visitor::transformer::{self, Transformer};
use rustpython_vm::compiler::ast::visitor::{self, Visitor};
use rustpython_vm::compiler::ast::{self, CmpOp, Expr, Number, Stmt};
use rustpython_vm::compiler::parser;
use serde::Serialize;

/// Rewritten statements call these functions of `assertion_values.py`, which are among Python's builtins.
const TEMPLATES: [&str; 3] = [
    "_snowglobe_assert()(x)\n",
    "_snowglobe_seen(0, 0, 0, x)\n",
    "_snowglobe_checking(x)\n",
];

/// Methods of `t` whose arguments are no values to be compared.
const CONTEXTS: [&str; 3] = ["assertRaises", "assertWarns", "assertLogs"];

/// The part that an expression has in a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Any = 0,
    LeftOfEquality = 1,
    RightOfEquality = 2,
    LeftConstant = 3,
    RightConstant = 4,
}

/// The kind of function that an expression is passed through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum MarkKind {
    Assertion,
    Value,
    /// A function of unittest.
    Check,
}

/// An expression that is passed through a function, for an interpreter that has trees of its own.
#[derive(Debug, Serialize)]
pub(super) struct ExpressionMark {
    kind: MarkKind,
    /// In bytes of the text.
    begin: u32,
    end: u32,
    part: u32,
}

/// Changes the assertions of a script's tree. Positions stay.
pub(super) fn remember_values(suite: &mut [Stmt]) {
    let [whole, seen, checking] = TEMPLATES.map(call_template);
    let (Some(whole), Some(seen), Some(checking)) = (whole, seen, checking) else {
        return;
    };
    let templates = Templates {
        whole,
        seen,
        checking,
    };
    Rewriter::Change(&templates).visit_body(suite);
}

/// Lists what [`remember_values`] changes.
pub(super) fn expression_marks(suite: &mut [Stmt]) -> Vec<ExpressionMark> {
    let marks = RefCell::default();
    Rewriter::List(&marks).visit_body(suite);
    marks.into_inner()
}

fn call_template(text: &str) -> Option<ast::ExprCall> {
    let parsed = parser::parse_module(text).ok()?;
    match parsed.into_suite().into_iter().next()? {
        Stmt::Expr(statement) => statement.value.call_expr(),
        _ => None,
    }
}

/// Which names of an expression are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NamesIn {
    /// The whole expression.
    Expression,
    /// The parts whose values are not remembered, as they are other ones at each step: comprehensions and functions.
    Scopes,
}

/// Returns the names in an expression, or in parts of it.
pub(super) fn names(text: &str, parts: NamesIn) -> Vec<String> {
    let Ok(parsed) = parser::parse_expression(text) else {
        return Vec::new();
    };
    let mut names = ScopedNames {
        depth: usize::from(parts == NamesIn::Expression),
        found: Vec::new(),
    };
    names.visit_expr(parsed.expr());
    names.found
}

/// The calls that expressions are passed through.
struct Templates {
    whole: ast::ExprCall,
    seen: ast::ExprCall,
    checking: ast::ExprCall,
}

enum Rewriter<'a> {
    /// By the templates.
    Change(&'a Templates),
    List(&'a RefCell<Vec<ExpressionMark>>),
}

impl Transformer for Rewriter<'_> {
    fn visit_stmt(&self, statement: &mut Stmt) {
        transformer::walk_stmt(self, statement);
        match statement {
            Stmt::Assert(assertion) => {
                self.operands(&mut assertion.test);
                self.wrap(&mut assertion.test, MarkKind::Assertion, Part::Any);
            }
            Stmt::Expr(statement) => {
                if let Expr::Call(call) = &mut *statement.value
                    && is_assertion(&call.func)
                {
                    self.arguments(&mut call.arguments);
                    self.wrap(&mut call.func, MarkKind::Check, Part::Any);
                }
            }
            _ => {}
        }
    }

    // Expressions hold no statements.
    fn visit_expr(&self, _: &mut Expr) {}
}

impl Rewriter<'_> {
    /// Remembers an expression and those in it.
    fn expression(&self, expression: &mut Expr, part: Part) {
        if is_constant(expression) {
            // One side of a comparison is needed for its difference to the other.
            match part {
                Part::LeftOfEquality => {
                    self.wrap(expression, MarkKind::Value, Part::LeftConstant);
                }
                Part::RightOfEquality => {
                    self.wrap(expression, MarkKind::Value, Part::RightConstant);
                }
                Part::Any | Part::LeftConstant | Part::RightConstant => {}
            }
            return;
        }
        match expression {
            Expr::Starred(starred) => return self.expression(&mut starred.value, Part::Any),
            Expr::Slice(slice) => {
                let ends = [&mut slice.lower, &mut slice.upper, &mut slice.step];
                for end in ends.into_iter().flatten() {
                    self.expression(end, Part::Any);
                }
                return;
            }
            _ => {}
        }
        self.operands(expression);
        self.wrap(expression, MarkKind::Value, part);
    }

    /// Remembers the expressions in one, but not itself.
    fn operands(&self, expression: &mut Expr) {
        let any = |operand: &mut Expr| self.expression(operand, Part::Any);
        match expression {
            Expr::BoolOp(operation) => operation.values.iter_mut().for_each(any),
            Expr::BinOp(operation) => {
                any(&mut operation.left);
                any(&mut operation.right);
            }
            Expr::UnaryOp(operation) => any(&mut operation.operand),
            Expr::Compare(comparison) => {
                let [left, right] = if matches!(&*comparison.ops, [CmpOp::Eq]) {
                    [Part::LeftOfEquality, Part::RightOfEquality]
                } else {
                    [Part::Any, Part::Any]
                };
                self.expression(&mut comparison.left, left);
                for comparator in &mut comparison.comparators {
                    self.expression(comparator, right);
                }
            }
            Expr::Call(call) => {
                // A method is no value to be shown; its object is.
                match &mut *call.func {
                    Expr::Attribute(method) => any(&mut method.value),
                    Expr::Name(_) => {}
                    function => any(function),
                }
                self.arguments(&mut call.arguments);
            }
            Expr::Attribute(attribute) => any(&mut attribute.value),
            Expr::Subscript(subscript) => {
                any(&mut subscript.value);
                any(&mut subscript.slice);
            }
            Expr::If(choice) => {
                any(&mut choice.test);
                any(&mut choice.body);
                any(&mut choice.orelse);
            }
            Expr::List(list) => list.elts.iter_mut().for_each(any),
            Expr::Tuple(tuple) => tuple.elts.iter_mut().for_each(any),
            Expr::Set(set) => set.elts.iter_mut().for_each(any),
            Expr::Dict(dict) => {
                for item in &mut dict.items {
                    item.key.iter_mut().for_each(any);
                    any(&mut item.value);
                }
            }
            Expr::Named(named) => any(&mut named.value),
            // Other expressions have no operands, or others at each step.
            _ => {}
        }
    }

    /// Passes an expression through a function.
    fn wrap(&self, expression: &mut Expr, kind: MarkKind, part: Part) {
        match self {
            Self::Change(templates) => {
                let template = match kind {
                    MarkKind::Assertion => &templates.whole,
                    MarkKind::Value => &templates.seen,
                    MarkKind::Check => &templates.checking,
                };
                wrap(expression, template, part);
            }
            Self::List(marks) => {
                let range = expression.range();
                marks.borrow_mut().push(ExpressionMark {
                    kind,
                    begin: range.start().to_u32(),
                    end: range.end().to_u32(),
                    part: part as u32,
                });
            }
        }
    }

    fn arguments(&self, arguments: &mut ast::Arguments) {
        for argument in &mut arguments.args {
            self.expression(argument, Part::Any);
        }
        for keyword in &mut arguments.keywords {
            self.expression(&mut keyword.value, Part::Any);
        }
    }
}

/// Passes an expression through the function that a template calls.
fn wrap(expression: &mut Expr, template: &ast::ExprCall, part: Part) {
    let range = expression.range();
    let mut call = template.clone();
    call.range_start = range.start();
    call.arguments.range = range;
    set_range(&mut call.func, range);
    let numbers = [range.start().to_u32(), range.end().to_u32(), part as u32];
    let mut numbers = numbers.into_iter();
    for argument in &mut call.arguments.args {
        match argument {
            Expr::NumberLiteral(literal) => {
                literal.range = range;
                literal.value = Number::Int(numbers.next().unwrap_or_default().into());
            }
            place => *place = expression.clone(),
        }
    }
    *expression = Expr::Call(call);
}

/// Gives the function of a template, which may itself be called, the place of an expression.
/// Sets the place of a function in a template.
pub(super) fn set_range(function: &mut Expr, range: TextRange) {
    match function {
        Expr::Name(name) => name.range = range,
        Expr::Call(call) => {
            call.range_start = range.start();
            call.arguments.range = range;
            set_range(&mut call.func, range);
        }
        _ => {}
    }
}

/// Whether a function is an assertion of unittest.
fn is_assertion(function: &Expr) -> bool {
    let Expr::Attribute(method) = function else {
        return false;
    };
    let of_t = matches!(&*method.value, Expr::Name(name) if name.id.as_str() == "t");
    let name = method.attr.as_str();
    of_t && name.starts_with("assert") && !CONTEXTS.iter().any(|begin| name.starts_with(begin))
}

/// Whether an expression is what is written there.
fn is_constant(expression: &Expr) -> bool {
    match expression {
        Expr::StringLiteral(_)
        | Expr::BytesLiteral(_)
        | Expr::NumberLiteral(_)
        | Expr::BooleanLiteral(_)
        | Expr::NoneLiteral(_)
        | Expr::EllipsisLiteral(_) => true,
        Expr::UnaryOp(operation) => is_constant(&operation.operand),
        Expr::List(list) => list.elts.iter().all(is_constant),
        Expr::Tuple(tuple) => tuple.elts.iter().all(is_constant),
        Expr::Set(set) => set.elts.iter().all(is_constant),
        Expr::Dict(dict) => dict
            .items
            .iter()
            .all(|item| item.key.iter().all(is_constant) && is_constant(&item.value)),
        _ => false,
    }
}

struct ScopedNames {
    depth: usize,
    found: Vec<String>,
}

impl<'a> Visitor<'a> for ScopedNames {
    fn visit_expr(&mut self, expression: &'a Expr) {
        let is_scope = matches!(
            expression,
            Expr::ListComp(_)
                | Expr::SetComp(_)
                | Expr::DictComp(_)
                | Expr::Generator(_)
                | Expr::Lambda(_)
                | Expr::FString(_)
        );
        self.depth += usize::from(is_scope);
        if let (Expr::Name(name), 1..) = (expression, self.depth) {
            self.found.push(name.id.to_string());
        }
        visitor::walk_expr(self, expression);
        self.depth -= usize::from(is_scope);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_comprehensions_and_texts_are_found() {
        let text = "all(x in known for x in wanted) and other, f'{shown}'";
        let scoped = ["wanted", "x", "x", "known", "shown"];
        assert_eq!(names(text, NamesIn::Scopes), scoped);
        assert_eq!(names("a(b)", NamesIn::Expression), ["a", "b"]);
        assert_eq!(names("a == ", NamesIn::Expression), Vec::<String>::new());
    }
}
