//! The strings of a test's files that a script may come from, and which of them it does.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rnix::ast::{self, Expr};
use rowan::ast::AstNode;

use super::expressions::{Document, lookup};
use super::template::{Map, Segment};

const SCRIPT: &str = "testScript";

/// How far imports are followed, and how many files are read at most.
const FURTHEST: u32 = 5;
const MOST_FILES: usize = 400;

/// Shorter strings than this that no attribute calls a script are none.
const SHORTEST: usize = 8;

/// Where a script comes from; none if it is computed in ways that cannot be followed.
pub(super) fn find(script: &str, file: &Path, attribute: &[String]) -> Option<Map> {
    let mut seen = HashSet::new();
    let mut level = vec![file.to_owned()];
    for _ in 0..=FURTHEST {
        let mut next = Vec::new();
        let mut best: Option<(Map, (usize, usize))> = None;
        for path in level {
            if seen.len() >= MOST_FILES || !seen.insert(path.clone()) {
                continue;
            }
            let Some(document) = Document::read(&path) else {
                continue;
            };
            for (map, rank) in fits(script, &document, attribute) {
                if best.as_ref().is_none_or(|(_, other)| rank > *other) {
                    best = Some((map, rank));
                }
            }
            next.extend(imports(&document));
        }
        if let Some((map, _)) = best {
            return Some(map);
        }
        level = next;
    }
    None
}

/// The scripts of a file as templates, for who reads tests without evaluating
/// them; of choices the first is taken.
#[must_use]
pub fn scripts(file: &Path) -> Vec<Vec<Segment>> {
    let Some(document) = Document::read(file) else {
        return Vec::new();
    };
    let candidates = script_values(&document);
    candidates
        .iter()
        .map(|candidate| first_choices(document.template(candidate)))
        .filter(|template| {
            template
                .iter()
                .any(|segment| matches!(segment, Segment::Literal { .. }))
        })
        .collect()
}

fn first_choices(template: Vec<Segment>) -> Vec<Segment> {
    let segments = template.into_iter().flat_map(|segment| match segment {
        Segment::Choice(choices) => first_choices(choices.into_iter().next().unwrap_or_default()),
        other => vec![other],
    });
    segments.collect()
}

/// The maps of all strings that the script fits, with their rank: how much of
/// it they explain, and how much of the attribute path leads to them.
fn fits(script: &str, document: &Document, attribute: &[String]) -> Vec<(Map, (usize, usize))> {
    let scripts = script_values(document).into_iter().map(|value| (value, 1));
    // What nothing calls a script has to explain most of it.
    let others = passed_on(document)
        .into_iter()
        .map(|value| (value, script.len() / 2 + 1));
    let fit = |(candidate, least): (Expr, usize)| {
        let map = Map::fit(script, &document.template(&candidate))?;
        let rank = (map.known, led_to(&candidate, attribute));
        (map.known >= least).then_some((map, rank))
    };
    scripts.chain(others).filter_map(fit).collect()
}

/// The values of all attributes `testScript`.
fn script_values(document: &Document) -> Vec<Expr> {
    let Some(root) = &document.root else {
        return Vec::new();
    };
    let nodes = || root.syntax().descendants();
    let assigned = nodes()
        .filter_map(ast::AttrpathValue::cast)
        .filter(|value| {
            let path = value.attrpath();
            path.is_some_and(|path| {
                path.attrs()
                    .last()
                    .is_some_and(|name| name.to_string() == SCRIPT)
            })
        });
    let inherited = nodes()
        .filter_map(ast::Inherit::cast)
        .filter(|inherit| inherit.from().is_none())
        .flat_map(|inherit| inherit.attrs().collect::<Vec<_>>())
        .filter_map(|name| match name {
            ast::Attr::Ident(name) if name.to_string() == SCRIPT => lookup(&name),
            _ => None,
        });
    assigned
        .filter_map(|value| value.value())
        .chain(inherited)
        .collect()
}

/// Texts that are passed on before they become a script: strings of some
/// length, and other expressions that functions are called with.
fn passed_on(document: &Document) -> Vec<Expr> {
    let nodes = || {
        document
            .root
            .iter()
            .flat_map(|root| root.syntax().descendants())
    };
    let strings = nodes()
        .filter_map(ast::Str::cast)
        .filter(|string| usize::from(string.syntax().text_range().len()) > SHORTEST)
        .map(Expr::Str);
    let arguments = nodes()
        .filter_map(ast::Apply::cast)
        .filter_map(|call| call.argument())
        .filter(|argument| matches!(argument, Expr::Paren(_)));
    strings.chain(arguments).collect()
}

/// How many names of the attribute path the attributes around an expression have.
fn led_to(candidate: &Expr, attribute: &[String]) -> usize {
    let around: Vec<String> = candidate
        .syntax()
        .ancestors()
        .filter_map(ast::AttrpathValue::cast)
        .filter_map(|value| value.attrpath())
        .flat_map(|path| {
            path.attrs()
                .map(|name| name.to_string())
                .collect::<Vec<_>>()
        })
        .collect();
    attribute
        .iter()
        .filter(|name| around.contains(name))
        .count()
}

/// The files that a file names.
fn imports(document: &Document) -> Vec<PathBuf> {
    let nodes = document
        .root
        .iter()
        .flat_map(|root| root.syntax().descendants());
    nodes
        .filter_map(ast::PathRel::cast)
        .filter_map(|path| document.path(&path))
        .filter(|path| {
            path.extension().is_some_and(|ending| ending == "nix")
                || path.join("default.nix").is_file()
        })
        .collect()
}
