//! The edit of one node of a test: whether the other nodes are the same without an evaluation.
//!
//! Names of Nix are lexical: an expression that is the value of `nodes.NAME`, in a set that is passed to a function that
//! makes tests, is used for nothing but that node. What other nodes see of it goes through the argument `nodes`, which
//! each file names that asks for it. Whatever is not sure asks for all nodes.

use std::ops::Range;

use rnix::SyntaxKind;
use rnix::ast::{self, Expr};
use rowan::ast::AstNode;

use super::script_edit::common_ends;
use super::sole_script::is_set_of_test;

/// The attribute of a test whose attributes are nodes.
const NODES: &str = "nodes";

/// Names by which a file may come to nodes that it does not define, or to the arguments of modules.
const ASKING: [&str; 9] = [
    NODES,
    "allMachines",
    "nodesCompat",
    "containers",
    "machines",
    "_module",
    "specialArgs",
    "extendModules",
    "extend",
];

/// Arguments of modules by whose attributes nodes can be reached.
const CONFIGURATIONS: [&str; 2] = ["config", "options"];

/// How many names are followed to the function that makes the test.
const MOST_NAMES: usize = 8;

/// Returns the node whose value holds all that differs between two texts of a Nix file; `None` if there is none.
#[must_use]
pub fn edited_node(old: &str, new: &str) -> Option<String> {
    if asks_for_nodes(new) {
        return None;
    }
    let (before, after) = common_ends(old, new);
    let (old_name, old_value) = node_around(old, &(before..old.len() - after))?;
    let (new_name, new_value) = node_around(new, &(before..new.len() - after))?;
    let is_same_place = old_value.start == new_value.start
        && old.len() - old_value.end == new.len() - new_value.end;
    (old_name == new_name && is_same_place).then_some(new_name)
}

/// Returns the node whose value has some bytes of a text, and the bytes of the value.
fn node_around(text: &str, bytes: &Range<usize>) -> Option<(String, Range<usize>)> {
    let parsed = rnix::Root::parse(text);
    if !parsed.errors().is_empty() {
        return None;
    }
    let definitions = parsed
        .syntax()
        .descendants()
        .filter_map(ast::AttrpathValue::cast);
    definitions.into_iter().find_map(|definition| {
        let value = definition.value()?.syntax().text_range();
        let value = usize::from(value.start())..usize::from(value.end());
        let holds = value.start <= bytes.start && bytes.end <= value.end;
        let name = node_of(&definition).filter(|_| holds)?;
        Some((name, value))
    })
}

/// The node that a definition is one of, if it is one.
fn node_of(definition: &ast::AttrpathValue) -> Option<String> {
    let names = names(definition);
    let set = plain_set(definition)?;
    match &names[..] {
        [first, name, ..] if first == NODES => is_of_test(&set).then(|| name.clone()),
        [name, ..] => {
            let mut parent = set.syntax().parent()?;
            while ast::Paren::can_cast(parent.kind()) {
                parent = parent.parent()?;
            }
            let holder = ast::AttrpathValue::cast(parent)?;
            let is_of_nodes = self::names(&holder) == [NODES];
            let test = plain_set(&holder)?;
            (is_of_nodes && is_of_test(&test)).then(|| name.clone())
        }
        [] => None,
    }
}

fn is_of_test(set: &ast::AttrSet) -> bool {
    is_set_of_test(set.syntax(), MOST_NAMES)
}

/// The set that a definition is in, whose attributes do not see each other.
fn plain_set(definition: &ast::AttrpathValue) -> Option<ast::AttrSet> {
    let set = ast::AttrSet::cast(definition.syntax().parent()?)?;
    set.rec_token().is_none().then_some(set)
}

/// The names of a definition's path, if all are written as they are.
fn names(definition: &ast::AttrpathValue) -> Vec<String> {
    let attributes = definition
        .attrpath()
        .into_iter()
        .flat_map(|path| path.attrs());
    let names: Option<Vec<String>> = attributes
        .map(|attribute| match attribute {
            ast::Attr::Ident(name) => Some(name.to_string()),
            ast::Attr::Str(_) | ast::Attr::Dynamic(_) => None,
        })
        .collect();
    names.unwrap_or_default()
}

/// Whether a Nix file may come to nodes other than by defining them.
#[must_use]
pub fn asks_for_nodes(nix: &str) -> bool {
    let parsed = rnix::Root::parse(nix);
    if !parsed.errors().is_empty() {
        return true;
    }
    parsed.syntax().descendants().any(|node| {
        if let Some(name) = ast::Ident::cast(node.clone()) {
            let text = name.to_string();
            let asks = ASKING.contains(&text.as_str()) && !is_defined_node(&name);
            return asks || CONFIGURATIONS.contains(&text.as_str()) && !is_plainly_used(&name);
        }
        if let Some(string) = ast::Str::cast(node.clone()) {
            let text = string.syntax().text().to_string();
            return ASKING.contains(&text.trim_matches(['"', '\'']));
        }
        // All arguments of a module under one name.
        ast::PatBind::can_cast(node.kind()) || is_module_of_one_name(&node)
    })
}

/// Whether a name is `nodes` at the beginning of the path of a definition.
fn is_defined_node(name: &ast::Ident) -> bool {
    let path = name.syntax().parent().and_then(ast::Attrpath::cast);
    let Some(path) = path.filter(|_| name.to_string() == NODES) else {
        return false;
    };
    let is_first = path
        .attrs()
        .next()
        .is_some_and(|first| first.syntax() == name.syntax());
    let is_definition = path
        .syntax()
        .parent()
        .is_some_and(|it| ast::AttrpathValue::can_cast(it.kind()));
    is_first && is_definition
}

/// Whether a configuration is asked for an attribute whose name is written there, or is the name of an argument, or of an
/// attribute.
fn is_plainly_used(name: &ast::Ident) -> bool {
    let Some(parent) = name.syntax().parent() else {
        return false;
    };
    if ast::PatEntry::can_cast(parent.kind()) || ast::Attrpath::can_cast(parent.kind()) {
        return true;
    }
    let Some(select) = ast::Select::cast(parent) else {
        return false;
    };
    let first = select.attrpath().and_then(|path| path.attrs().next());
    let is_base = select
        .expr()
        .is_some_and(|base| base.syntax() == name.syntax());
    is_base && matches!(first, Some(ast::Attr::Ident(_)))
}

/// Whether a function of one name may be a module, which gets all arguments under that name. One that is passed to another
/// function is none, nor is an overlay in a list, whose value is a function.
fn is_module_of_one_name(node: &rnix::SyntaxNode) -> bool {
    if node.kind() != SyntaxKind::NODE_LAMBDA {
        return false;
    }
    let Some(lambda) = ast::Lambda::cast(node.clone()) else {
        return false;
    };
    if !matches!(lambda.param(), Some(ast::Param::IdentParam(_))) {
        return false;
    }
    let returns_function = matches!(lambda.body(), Some(Expr::Lambda(_)));
    // From here on outwards: the function that returns it, and its place.
    let mut outer = node.clone();
    let mut is_returned = false;
    let place = loop {
        let Some(parent) = outer.parent() else {
            return true;
        };
        let is_function = ast::Lambda::can_cast(parent.kind());
        if !is_function && !ast::Paren::can_cast(parent.kind()) {
            break parent;
        }
        is_returned |= is_function;
        outer = parent;
    };
    if ast::List::can_cast(place.kind()) {
        return !returns_function && !is_returned;
    }
    if let Some(call) = ast::Apply::cast(place.clone()) {
        return call.argument().is_none_or(|it| it.syntax() != &outer);
    }
    // A helper that is only called, and returns no function, is no module.
    let is_helper = ast::AttrpathValue::cast(place).is_some_and(|it| is_only_called(&it));
    !(is_helper && !is_returned && !returns_function)
}

/// Whether a definition is that of a name in a `let`, and each use of the name is a call.
fn is_only_called(definition: &ast::AttrpathValue) -> bool {
    let is_named = definition
        .syntax()
        .parent()
        .is_some_and(|it| ast::LetIn::can_cast(it.kind()));
    let (Some(root), [name]) = (
        definition.syntax().ancestors().last(),
        &names(definition)[..],
    ) else {
        return false;
    };
    let uses = root.descendants().filter_map(ast::Ident::cast);
    let mut uses = uses.filter(|it| it.to_string() == *name).filter(|it| {
        let parent = it.syntax().parent();
        !parent.is_some_and(|parent| ast::Attrpath::can_cast(parent.kind()))
    });
    is_named
        && uses.all(|used| {
            let call = used.syntax().parent().and_then(ast::Apply::cast);
            let function = call.and_then(|call| call.lambda());
            function.is_some_and(|it| it.syntax() == used.syntax())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(server: &str, client: &str) -> String {
        format!(
            "{{ pkgs, ... }}:\npkgs.testers.runNixOSTest {{\n  nodes.server = {server};\n  nodes.client.x = {client};\n  testScript = \"\";\n}}\n"
        )
    }

    #[test]
    fn the_node_of_an_edit_is_found() {
        let old = test("{ pkgs, ... }: { a = 1; }", "1");
        for (new, expected) in [
            (test("{ pkgs, ... }: { a = 2; }", "1"), Some("server")),
            (test("{ }", "1"), Some("server")),
            (
                test("{ pkgs, ... }: { a = 1; }", "{ y = [ ]; }"),
                Some("client"),
            ),
            (test("{ }", "2"), None),
            (old.replace("testScript = \"\"", "testScript = \"x\""), None),
            (old.replace("nodes.client", "nodes.other"), None),
            (old.replace("nodes.client.x = 1;", ""), None),
            (old.replace("runNixOSTest", "other"), None),
        ] {
            assert_eq!(edited_node(&old, &new).as_deref(), expected, "{new}");
        }
        let set =
            |value: &str| format!("{{ nodes = {{ a = {value}; b = 1; }}; testScript = \"\"; }}");
        assert_eq!(edited_node(&set("1"), &set("{ }")).as_deref(), Some("a"));
        // In other functions, and sets whose attributes see each other, it may be more.
        for (from, to) in [
            ("{ nodes.a = VALUE; }", "x"),
            ("rec { nodes.a = VALUE; testScript = \"\"; }", "x"),
            ("f { nodes.a = VALUE; testScript = \"\"; }", "x"),
            ("{ nodes = rec { a = VALUE; }; testScript = \"\"; }", "x"),
            (
                "let n = { a = VALUE; }; in { nodes = n; testScript = \"\"; }",
                "x",
            ),
            ("{ nodes.${\"a\"} = VALUE; testScript = \"\"; }", "x"),
        ] {
            let with = |value: &str| from.replace("VALUE", value);
            let is_set = from.starts_with("{ nodes.a");
            let found = edited_node(&with("1"), &with(to));
            assert_eq!(found.is_some(), is_set, "{from}");
        }
    }

    #[test]
    fn files_that_may_ask_for_nodes_are_known() {
        for nix in [
            "{ nodes, ... }: { }",
            "{ config, ... }: config.nodes.a",
            "x: { inherit (x) nodes; }",
            "{ a = builtins.getAttr \"nodes\"; }",
            "args@{ pkgs, ... }: { }",
            "{ testScript = args: \"\"; }",
            "{ imports = [ (args: { }) ]; }",
            "args: { }",
            "{ a.nodes.b = 1; }",
            "{ x = y.extend { }; }",
            "{ _module.args.x = 1; }",
            "{ a = ",
            // By names that are made, and all arguments under one name.
            "{ config, ... }: config.${\"no\" + \"des\"}",
            "{ config, ... }: builtins.attrValues config",
            "{ config, ... }: with config; a",
            "{ config, ... }: { inherit (config) a; }",
            "{ options, ... }: f options",
            "{ a = (x: args: args) 1; }",
            "let f = x: args: { }; in { a = f 1; }",
            "name: args: { }",
            "let f = args: { }; in { a = f; }",
            "let f = args: { }; in { imports = [ f ]; }",
        ] {
            assert!(asks_for_nodes(nix), "{nix}");
        }
        for nix in [
            "{ nodes.a = { pkgs, ... }: { }; testScript = \"\"; }",
            "let f = x: { }; in { nodes = { a = f 1; }; }",
            "{ config, ... }: { a = config.networking.hostName; config.b = 1; }",
            "{ nixpkgs.overlays = [ (final: prev: { }) ]; }",
            "{ lib, ... }: { a = map (x: x) [ ]; b = lib.mkIf true (f: f); }",
        ] {
            assert!(!asks_for_nodes(nix), "{nix}");
        }
    }
}
