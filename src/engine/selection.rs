//! Makes subtests skippable: `with subtest(…):` gets an `if` around its statements.

use regex_lite::Regex;
use ruff_text_size::Ranged;
use rustpython_vm::compiler::ast::visitor::transformer::{self, Transformer};
use rustpython_vm::compiler::ast::visitor::{self, Visitor};
use rustpython_vm::compiler::ast::{self, Expr, ExprContext, Stmt};

/// The name in the script that says whether the subtest runs.
const RUNS: &str = "_snowglobe_runs";

/// Changes a script's tree so that subtests may be skipped. Positions stay.
pub(super) fn make_skippable(suite: &mut [Stmt]) {
    Skippable.visit_body(suite);
}

/// The names of the subtests that hold others which match.
pub(super) fn holders(suite: &[Stmt], only: &Regex) -> Vec<String> {
    let mut reader = Holders {
        only,
        around: Vec::new(),
        found: Vec::new(),
    };
    reader.visit_body(suite);
    reader.found
}

/// Returns where the `with` statements of subtests begin, which [`make_skippable`] changes, in bytes of the text.
pub(super) fn subtest_begins(suite: &[Stmt]) -> Vec<u32> {
    let mut reader = Begins(Vec::new());
    reader.visit_body(suite);
    reader.0
}

struct Begins(Vec<u32>);

impl<'a> Visitor<'a> for Begins {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        if let Stmt::With(with) = statement
            && with.items.iter().any(|item| is_subtest(&item.context_expr))
        {
            self.0.push(with.range.start().to_u32());
        }
        visitor::walk_stmt(self, statement);
    }
}

struct Skippable;

impl Transformer for Skippable {
    fn visit_stmt(&self, statement: &mut Stmt) {
        transformer::walk_stmt(self, statement);
        let Stmt::With(with) = statement else { return };
        let range = with.range;
        let name = |ctx| {
            Expr::Name(ast::ExprName {
                node_index: ast::AtomicNodeIndex::default(),
                range,
                id: ast::name::Name::new_static(RUNS),
                ctx,
            })
        };
        let item = with
            .items
            .iter_mut()
            .find(|item| is_subtest(&item.context_expr) && item.optional_vars.is_none());
        let Some(item) = item else { return };
        item.optional_vars = Some(Box::new(name(ExprContext::Store)));
        let body = std::mem::take(&mut with.body);
        let choice = Stmt::If(ast::StmtIf {
            node_index: ast::AtomicNodeIndex::default(),
            range,
            test: Box::new(name(ExprContext::Load)),
            body,
            ..if_template()
        });
        with.body = [choice].into_iter().collect();
    }
}

/// Makes a statement run only if `test` is true. Positions stay.
pub(super) fn wrap_in_if(statement: &mut Stmt, test: Expr) {
    let mut choice = if_template();
    choice.range = statement.range();
    choice.test = Box::new(test);
    let inner = std::mem::replace(statement, Stmt::If(choice));
    if let Stmt::If(choice) = statement {
        choice.body = [inner].into_iter().collect();
    }
}

/// An `if` without anything, for the fields that only the parser knows.
fn if_template() -> ast::StmtIf {
    let parsed = rustpython_vm::compiler::parser::parse_module("if x:\n    pass\n");
    match parsed.map(|parsed| parsed.into_suite().into_iter().next()) {
        Ok(Some(Stmt::If(statement))) => statement,
        _ => unreachable!("that is an if"),
    }
}

struct Holders<'a> {
    only: &'a Regex,
    around: Vec<&'a str>,
    found: Vec<String>,
}

impl<'a> Visitor<'a> for Holders<'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        let names: Vec<&str> = match statement {
            Stmt::With(with) => with
                .items
                .iter()
                .filter_map(|item| subtest_name(&item.context_expr))
                .collect(),
            _ => Vec::new(),
        };
        if names.iter().any(|name| self.only.is_match(name)) {
            self.found
                .extend(self.around.iter().map(ToString::to_string));
        }
        let depth = self.around.len();
        self.around.extend(names);
        visitor::walk_stmt(self, statement);
        self.around.truncate(depth);
    }
}

fn is_subtest(expression: &Expr) -> bool {
    let function = expression
        .as_call_expr()
        .and_then(|call| call.func.as_name_expr());
    function.is_some_and(|name| name.id.as_str() == "subtest")
}

/// Returns the name of the subtest that an expression begins, if it is written out.
pub(super) fn subtest_name(expression: &Expr) -> Option<&str> {
    let call = expression
        .as_call_expr()
        .filter(|_| is_subtest(expression))?;
    let argument = call.arguments.args.first()?;
    Some(argument.as_string_literal_expr()?.value.to_str())
}
