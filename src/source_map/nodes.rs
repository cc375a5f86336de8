//! The nodes that the text of a Nix file defines, and where.

use std::ops::Range;

use rnix::ast::{self, Expr, HasEntry};
use rowan::ast::AstNode;

use super::sole_script::SCRIPT;

/// The attributes of a test whose attributes are nodes.
const SETS_OF_NODES: [&str; 2] = ["nodes", "containers"];

/// The attribute of a test that is its only node.
const ONLY_NODE: &str = "machine";

/// How many expressions around a set of nodes are looked into.
const DEEPEST: usize = 32;

/// A node, and the bytes of its name in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePlace {
    pub name: String,
    pub range: Range<usize>,
}

/// Returns the nodes of all tests of a Nix text, as far as it names them. It may have errors.
#[must_use]
pub fn node_places(nix: &str) -> Vec<NodePlace> {
    let root = rnix::Root::parse(nix).syntax();
    let sets = root.descendants().filter_map(ast::AttrSet::cast);
    let tests = sets.filter(|set| {
        definitions(set).any(|(names, _)| names.first().is_some_and(|it| it.name == SCRIPT))
    });
    let mut places: Vec<NodePlace> = Vec::new();
    for test in tests {
        for (names, value) in definitions(&test) {
            let mut names = names.into_iter();
            let Some(first) = names.next() else {
                continue;
            };
            let is_set = SETS_OF_NODES.contains(&first.name.as_str());
            match names.next() {
                Some(node) if is_set => places.push(node),
                None if is_set => add_nodes(value, &mut places, DEEPEST),
                None if first.name == ONLY_NODE => places.push(first),
                _ => {}
            }
        }
    }
    // A node that is defined in several places is at the first one.
    let mut seen: Vec<NodePlace> = Vec::new();
    for place in places {
        if !seen.iter().any(|other| other.name == place.name) {
            seen.push(place);
        }
    }
    seen
}

/// Adds the names of a set of nodes.
fn add_nodes(value: Option<Expr>, places: &mut Vec<NodePlace>, depth: usize) {
    let Some(value) = value.filter(|_| depth > 0) else {
        return;
    };
    match value {
        Expr::AttrSet(set) => {
            places.extend(definitions(&set).filter_map(|(names, _)| names.into_iter().next()));
        }
        Expr::Paren(inner) => add_nodes(inner.expr(), places, depth - 1),
        Expr::LetIn(it) => add_nodes(it.body(), places, depth - 1),
        Expr::With(it) => add_nodes(it.body(), places, depth - 1),
        Expr::BinOp(it) => {
            add_nodes(it.lhs(), places, depth - 1);
            add_nodes(it.rhs(), places, depth - 1);
        }
        _ => {}
    }
}

/// The definitions of a set: the names of each path, as far as they are written, and the value.
fn definitions(set: &ast::AttrSet) -> impl Iterator<Item = (Vec<NodePlace>, Option<Expr>)> + use<> {
    set.attrpath_values().map(|definition| {
        let attributes = definition
            .attrpath()
            .into_iter()
            .flat_map(|path| path.attrs());
        let names = attributes.map_while(|attribute| name(&attribute));
        (names.collect(), definition.value())
    })
}

fn name(attribute: &ast::Attr) -> Option<NodePlace> {
    let (text, node) = match attribute {
        ast::Attr::Ident(name) => (name.to_string(), name.syntax()),
        ast::Attr::Str(text) => {
            let written = text.syntax().text().to_string();
            let plain = written.trim_matches('"').to_owned();
            (!plain.contains(['$', '\\'])).then_some((plain, text.syntax()))?
        }
        ast::Attr::Dynamic(_) => return None,
    };
    let range = node.text_range();
    Some(NodePlace {
        name: text,
        range: range.start().into()..range.end().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(nix: &str) -> Vec<String> {
        let places = node_places(nix);
        for place in &places {
            assert_eq!(nix[place.range.clone()].trim_matches('"'), place.name);
        }
        places.into_iter().map(|place| place.name).collect()
    }

    #[test]
    fn nodes_are_those_of_tests() {
        for (nix, expected) in [
            (
                "{ nodes.a = { }; nodes.b.x = 1; testScript = \"\"; }",
                &["a", "b"][..],
            ),
            (
                "{ nodes = { a = { }; \"b-c\" = { }; }; testScript = \"\"; }",
                &["a", "b-c"],
            ),
            (
                "{ lib, ... }: { nodes = let x = 1; in ({ a = x; } // { b = x; }); testScript = ''",
                &["a", "b"],
            ),
            (
                "import x { machine = { }; testScript = \"\"; }",
                &["machine"],
            ),
            (
                "{ nodes.a = { nodes.c = 1; }; containers.d = { }; testScript = \"\"; }",
                &["a", "d"],
            ),
            ("{ nodes.a = { }; }", &[]),
            ("{ nodes = f x; testScript = \"\"; }", &[]),
            ("{ nodes.${x} = { }; testScript = \"\"; }", &[]),
            (
                "{ nodes.a.b = 1; nodes.a.c = 2; testScript = \"\"; }",
                &["a"],
            ),
            ("", &[]),
        ] {
            assert_eq!(names(nix), expected, "{nix}");
        }
    }
}
