//! Nix expressions as templates: what is known of a string without evaluating it.

use std::cell::Cell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rnix::ast::{self, Expr, HasEntry, InterpolPart};
use rowan::ast::AstNode;

use super::strings::{Part, parts};
use super::template::{Segment, SourceFile};

/// Names may stand for each other, and files may import each other.
const DEEPEST: u32 = 16;

/// How many expressions are followed for one template.
const MOST_EXPRESSIONS: usize = 5000;

/// A parsed file.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub file: Arc<SourceFile>,
    pub root: Option<Expr>,
    /// How many expressions may still be followed.
    budget: Cell<usize>,
}

impl Document {
    pub fn read(path: &Path) -> Option<Self> {
        let path = if path.is_dir() {
            path.join("default.nix")
        } else {
            path.to_owned()
        };
        let text = std::fs::read_to_string(&path).ok()?;
        let root = rnix::Root::parse(&text).tree().expr();
        let file = Arc::new(SourceFile { path, text });
        let budget = Cell::new(0);
        Some(Self { file, root, budget })
    }

    /// A path literal as a path, where it needs no evaluation.
    pub fn path(&self, literal: &ast::PathRel) -> Option<PathBuf> {
        let parts = literal.parts();
        let [InterpolPart::Literal(text)] = parts.as_slice() else {
            return None;
        };
        let text = ast::AstToken::syntax(text).text().to_owned();
        // Without the `.` that begins it.
        Some(self.file.path.parent()?.join(text).components().collect())
    }

    /// Returns the texts that an expression may evaluate to.
    pub fn template(&self, expression: &Expr) -> Vec<Segment> {
        self.budget.set(MOST_EXPRESSIONS);
        self.resolve(expression, 0)
    }

    fn resolve(&self, expression: &Expr, depth: u32) -> Vec<Segment> {
        let left = self.budget.get();
        if depth > DEEPEST || left == 0 {
            return self.gap(range(expression));
        }
        self.budget.set(left - 1);
        let inner = |inner: Option<Expr>| match inner {
            Some(inner) => self.resolve(&inner, depth + 1),
            None => self.gap(range(expression)),
        };
        match expression {
            Expr::Str(literal) => self.literal(literal, depth),
            Expr::Paren(paren) => inner(paren.expr()),
            Expr::LetIn(let_in) => inner(let_in.body()),
            Expr::With(with) => inner(with.body()),
            Expr::Assert(assert) => inner(assert.body()),
            Expr::Lambda(lambda) => inner(lambda.body()),
            Expr::Ident(name) => inner(lookup(name)),
            Expr::Select(select) => inner(selected(select)),
            Expr::IfElse(choice) => {
                vec![Segment::Choice(vec![
                    inner(choice.body()),
                    inner(choice.else_body()),
                ])]
            }
            Expr::BinOp(operation) if operation.operator() == Some(ast::BinOpKind::Add) => {
                [inner(operation.lhs()), inner(operation.rhs())].concat()
            }
            Expr::Apply(call) => self.call(call, depth),
            // As a script, a path is the text of its file.
            Expr::PathRel(path) => match self.path(path).and_then(|path| whole(&path)) {
                Some(segment) => vec![segment],
                None => self.gap(range(expression)),
            },
            _ => self.gap(range(expression)),
        }
    }

    fn literal(&self, literal: &ast::Str, depth: u32) -> Vec<Segment> {
        let segments = parts(literal).into_iter().map(|part| match part {
            Part::Text(text, runs) => vec![Segment::Literal {
                file: self.file.clone(),
                text,
                runs,
            }],
            Part::Antiquotation(antiquotation, range) => {
                let resolved = antiquotation
                    .expr()
                    .map(|expr| self.resolve(&expr, depth + 1));
                match resolved {
                    // An unknown part is shown by its antiquotation, `${` included.
                    Some(found) if found.iter().any(has_text) => {
                        vec![Segment::Choice(vec![found, self.gap(range)])]
                    }
                    _ => self.gap(range),
                }
            }
        });
        segments.flatten().collect()
    }

    fn call(&self, call: &ast::Apply, depth: u32) -> Vec<Segment> {
        let unknown = || self.gap(range(&Expr::Apply(call.clone())));
        let (Some(function), Some(argument)) = (call.lambda(), call.argument()) else {
            return unknown();
        };
        let name = function.syntax().text().to_string();
        match (name.as_str(), &argument) {
            ("import", Expr::PathRel(path)) => {
                let imported = self.path(path).and_then(|path| Self::read(&path));
                match imported.and_then(|document| Some((document.root.clone()?, document))) {
                    Some((root, document)) => {
                        document.budget.set(self.budget.get());
                        document.resolve(&root, depth + 1)
                    }
                    None => unknown(),
                }
            }
            ("builtins.readFile" | "readFile" | "lib.readFile", Expr::PathRel(path)) => {
                match self.path(path).and_then(|path| whole(&path)) {
                    Some(segment) => vec![segment],
                    None => unknown(),
                }
            }
            _ => {
                // What a function of the file comes to, whatever its arguments.
                let mut choices = vec![self.resolve(&function, depth + 1)];
                // Others may pass a text on, or leave it out, as `optionalString` does.
                let passed = self.resolve(&argument, depth + 1);
                if passed.iter().any(has_text) {
                    choices.extend([passed, Vec::new()]);
                }
                vec![Segment::Choice(choices)]
            }
        }
    }

    fn gap(&self, range: Range<usize>) -> Vec<Segment> {
        vec![Segment::Gap {
            file: self.file.clone(),
            range,
        }]
    }
}

/// The value of `set.name` where the set is written out.
fn selected(select: &ast::Select) -> Option<Expr> {
    let mut value = select.expr()?;
    for attribute in select.attrpath()?.attrs() {
        while let Expr::Ident(name) = &value {
            value = lookup(name)?;
        }
        let Expr::AttrSet(set) = &value else {
            return None;
        };
        value = entry(set, &attribute.to_string())?;
    }
    Some(value)
}

fn whole(path: &Path) -> Option<Segment> {
    let text = std::fs::read_to_string(path).ok()?;
    let file = Arc::new(SourceFile {
        path: path.to_owned(),
        text: text.clone(),
    });
    let runs = vec![(0, 0)];
    Some(Segment::Literal { file, text, runs })
}

fn has_text(segment: &Segment) -> bool {
    match segment {
        Segment::Literal { text, .. } => !text.is_empty(),
        Segment::Gap { .. } => false,
        Segment::Choice(templates) => templates.iter().flatten().any(has_text),
    }
}

fn range(expression: &Expr) -> Range<usize> {
    let range = expression.syntax().text_range();
    range.start().into()..range.end().into()
}

/// Returns the expression that a name stands for, by the `let`s, recursive sets and defaults around it.
pub(super) fn lookup(name: &ast::Ident) -> Option<Expr> {
    let text = name.to_string();
    for around in name.syntax().ancestors().skip(1) {
        let found = if let Some(let_in) = ast::LetIn::cast(around.clone()) {
            entry(&let_in, &text)
        } else if let Some(set) = ast::AttrSet::cast(around.clone()) {
            set.rec_token().and_then(|_| entry(&set, &text))
        } else if let Some(lambda) = ast::Lambda::cast(around) {
            match parameter(&lambda, &text) {
                FunctionParameter::Absent => None,
                FunctionParameter::Default(value) => Some(value),
                FunctionParameter::Open => return None,
            }
        } else {
            None
        };
        // `x = x;` in a set that is not recursive means the outer one.
        if let Some(found) = found.filter(|found| found.syntax() != name.syntax()) {
            return Some(found);
        }
    }
    None
}

enum FunctionParameter {
    Absent,
    Default(Expr),
    /// Only the caller knows the value.
    Open,
}

fn parameter(lambda: &ast::Lambda, name: &str) -> FunctionParameter {
    match lambda.param() {
        Some(ast::Param::IdentParam(param)) if param.to_string() == name => FunctionParameter::Open,
        Some(ast::Param::Pattern(pattern)) => {
            let mut entries = pattern.pat_entries();
            let found =
                entries.find(|entry| entry.ident().is_some_and(|ident| ident.to_string() == name));
            match found.map(|entry| entry.default()) {
                None => FunctionParameter::Absent,
                Some(None) => FunctionParameter::Open,
                Some(Some(value)) => FunctionParameter::Default(value),
            }
        }
        _ => FunctionParameter::Absent,
    }
}

/// The value of a set's or `let`'s own attribute.
pub(super) fn entry(set: &impl HasEntry, name: &str) -> Option<Expr> {
    let mut values = set.attrpath_values();
    let found = values.find(|value| {
        value
            .attrpath()
            .is_some_and(|path| path.to_string() == name)
    });
    found.and_then(|value| value.value())
}
