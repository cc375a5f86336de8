//! Nix expressions as templates: what can be told of a string without evaluating it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rnix::ast::{self, Expr, HasEntry, InterpolPart};
use rowan::ast::AstNode;

use super::strings::{Part, parts};
use super::template::{Segment, SourceFile};

/// Names may stand for each other, and files may import each other.
const DEEPEST: u32 = 16;

/// How many alternatives are followed.
const MOST: usize = 16;

/// A parsed file.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub file: Arc<SourceFile>,
    pub root: Option<Expr>,
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
        Some(Self { file, root })
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

    /// All texts that an expression may come to.
    pub fn templates(&self, expression: &Expr) -> Vec<Vec<Segment>> {
        let mut templates = self.resolve(expression, 0);
        templates.truncate(MOST);
        templates
    }

    fn resolve(&self, expression: &Expr, depth: u32) -> Vec<Vec<Segment>> {
        if depth > DEEPEST {
            return vec![self.gap(range(expression))];
        }
        let inner = |inner: Option<Expr>| match inner {
            Some(inner) => self.resolve(&inner, depth + 1),
            None => vec![self.gap(range(expression))],
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
                let mut all = inner(choice.body());
                all.extend(inner(choice.else_body()));
                all
            }
            Expr::BinOp(operation) if operation.operator() == Some(ast::BinOpKind::Add) => {
                product(&inner(operation.lhs()), &inner(operation.rhs()))
            }
            Expr::Apply(call) => self.call(call, depth),
            _ => vec![self.gap(range(expression))],
        }
    }

    fn literal(&self, literal: &ast::Str, depth: u32) -> Vec<Vec<Segment>> {
        let mut all = vec![Vec::new()];
        for part in parts(literal) {
            let next = match part {
                Part::Text(text, runs) => vec![vec![Segment::Literal {
                    file: self.file.clone(),
                    text,
                    runs,
                }]],
                Part::Antiquotation(antiquotation, range) => {
                    let resolved = antiquotation
                        .expr()
                        .map(|expr| self.resolve(&expr, depth + 1));
                    match resolved {
                        // What stays unknown is told by its antiquotation, `${` included.
                        Some(found) if found.iter().flatten().any(is_literal) => found,
                        _ => vec![self.gap(range)],
                    }
                }
            };
            all = product(&all, &next);
        }
        all
    }

    fn call(&self, call: &ast::Apply, depth: u32) -> Vec<Vec<Segment>> {
        let unknown = || vec![self.gap(range(&Expr::Apply(call.clone())))];
        let (Some(function), Some(argument)) = (call.lambda(), call.argument()) else {
            return unknown();
        };
        let name = function.syntax().text().to_string();
        match (name.as_str(), &argument) {
            ("import", Expr::PathRel(path)) => {
                let imported = self.path(path).and_then(|path| Self::read(&path));
                match imported.and_then(|document| Some((document.root.clone()?, document))) {
                    Some((root, document)) => document.resolve(&root, depth + 1),
                    None => unknown(),
                }
            }
            ("builtins.readFile" | "readFile" | "lib.readFile", Expr::PathRel(path)) => {
                match self.path(path).and_then(|path| whole(&path)) {
                    Some(segment) => vec![vec![segment]],
                    None => unknown(),
                }
            }
            // What a function of the file comes to, whatever its arguments.
            _ => self.resolve(&function, depth + 1),
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

fn is_literal(segment: &Segment) -> bool {
    matches!(segment, Segment::Literal { text, .. } if !text.is_empty())
}

fn product(first: &[Vec<Segment>], second: &[Vec<Segment>]) -> Vec<Vec<Segment>> {
    let pairs = first
        .iter()
        .flat_map(|head| second.iter().map(move |tail| (head, tail)));
    pairs
        .take(MOST)
        .map(|(head, tail)| head.iter().chain(tail).cloned().collect())
        .collect()
}

fn range(expression: &Expr) -> Range<usize> {
    let range = expression.syntax().text_range();
    range.start().into()..range.end().into()
}

/// What a name stands for, by the `let`s, recursive sets and defaults around it.
pub(super) fn lookup(name: &ast::Ident) -> Option<Expr> {
    let text = name.to_string();
    for around in name.syntax().ancestors().skip(1) {
        let found = if let Some(let_in) = ast::LetIn::cast(around.clone()) {
            entry(&let_in, &text)
        } else if let Some(set) = ast::AttrSet::cast(around.clone()) {
            set.rec_token().and_then(|_| entry(&set, &text))
        } else if let Some(lambda) = ast::Lambda::cast(around) {
            match parameter(&lambda, &text) {
                Parameter::Absent => None,
                Parameter::Default(value) => Some(value),
                Parameter::Open => return None,
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

enum Parameter {
    Absent,
    Default(Expr),
    /// It is known to the caller only.
    Open,
}

fn parameter(lambda: &ast::Lambda, name: &str) -> Parameter {
    match lambda.param() {
        Some(ast::Param::IdentParam(param)) if param.to_string() == name => Parameter::Open,
        Some(ast::Param::Pattern(pattern)) => {
            let mut entries = pattern.pat_entries();
            let found =
                entries.find(|entry| entry.ident().is_some_and(|ident| ident.to_string() == name));
            match found.map(|entry| entry.default()) {
                None => Parameter::Absent,
                Some(None) => Parameter::Open,
                Some(Some(value)) => Parameter::Default(value),
            }
        }
        _ => Parameter::Absent,
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
