//! Whether an expression of a Nix file is a test's script and nothing else.
//!
//! Names of Nix are lexical: an expression that is the value of `testScript`, or of a name that is used once, there, is
//! not used otherwise in its file. Sets that have it are passed to functions that make tests. Whatever is not sure is
//! no script.

use rnix::ast::{self, Expr};
use rowan::ast::AstNode;

/// The attribute of a test that is its script.
pub(super) const SCRIPT: &str = "testScript";

/// Functions that make tests, and use the script for nothing else.
const TEST_FUNCTIONS: [&str; 4] = ["runNixOSTest", "nixosTest", "runTest", "makeTest"];

/// The file of nixpkgs that is such a function.
const TEST_FILE: &str = "make-test-python.nix";

/// Functions of a file that return its text.
const READERS: [&str; 3] = ["builtins.readFile", "lib.readFile", "readFile"];

/// How many names are followed.
const MOST_NAMES: usize = 8;

/// Whether a literal is nothing but a script.
pub(super) fn is_sole_script(literal: &ast::Str) -> bool {
    is_script(&Expr::Str(literal.clone()))
}

/// Whether the file that a path literal names is read as a script, and for nothing else.
pub(super) fn is_sole_script_file(path: &Expr) -> bool {
    let call = path.syntax().parent().and_then(ast::Apply::cast);
    match call {
        Some(call) => {
            let reads = call.lambda().is_some_and(|function| {
                READERS.contains(&function.syntax().text().to_string().as_str())
            });
            reads && is_script(&Expr::Apply(call))
        }
        None => is_script(path),
    }
}

fn is_script(expression: &Expr) -> bool {
    let Some(root) = expression.syntax().ancestors().last() else {
        return false;
    };
    let text = root.text().to_string();
    !text.contains("__curPos")
        && !mentions(&root)
        && is_value_of_script(expression.syntax(), MOST_NAMES)
}

/// Whether a Nix file does more with scripts than to define some.
pub(super) fn mentions_script(nix: &str) -> bool {
    mentions(&rnix::Root::parse(nix).syntax())
}

/// Whether the name of the attribute is used otherwise than to define one.
fn mentions(root: &rnix::SyntaxNode) -> bool {
    root.descendants().any(|node| {
        if let Some(string) = ast::Str::cast(node.clone()) {
            // The set's own text has it, too: only a string that is the name is one.
            let text = string.syntax().text().to_string();
            return text.trim_matches(['"', '\'']) == SCRIPT;
        }
        let Some(name) = ast::Ident::cast(node).filter(|name| name.to_string() == SCRIPT) else {
            return false;
        };
        !is_definition(&name)
    })
}

/// Whether a name is the whole path of an attribute, or inherited from the names around.
fn is_definition(name: &ast::Ident) -> bool {
    let Some(parent) = name.syntax().parent() else {
        return false;
    };
    if let Some(path) = ast::Attrpath::cast(parent.clone()) {
        let is_key = path
            .syntax()
            .parent()
            .is_some_and(|parent| ast::AttrpathValue::can_cast(parent.kind()));
        return is_key && path.attrs().count() == 1;
    }
    ast::Inherit::cast(parent).is_some_and(|inherit| inherit.from().is_none())
}

/// Whether the value of a node becomes that of `testScript`, unchanged or with other text beside it.
fn is_value_of_script(node: &rnix::SyntaxNode, names: usize) -> bool {
    let mut node = node.clone();
    while let Some(parent) = node.parent() {
        if let Some(definition) = ast::AttrpathValue::cast(parent.clone()) {
            return is_script_definition(&definition, names);
        }
        if !passes_on(&parent, &node) {
            return false;
        }
        node = parent;
    }
    false
}

fn is_script_definition(definition: &ast::AttrpathValue, names: usize) -> bool {
    let Some(name) = key(definition) else {
        return false;
    };
    let Some(parent) = definition.syntax().parent() else {
        return false;
    };
    if ast::LetIn::can_cast(parent.kind()) {
        return names > 0
            && only_use(definition, &name).is_some_and(|used| match used {
                Use::Name(used) => is_value_of_script(used.syntax(), names - 1),
                Use::Inherited(set) => name == SCRIPT && is_set_of_test(&set, names - 1),
            });
    }
    name == SCRIPT
        && ast::AttrSet::cast(parent)
            .filter(|set| set.rec_token().is_none())
            .is_some_and(|set| is_set_of_test(set.syntax(), names))
}

/// Whether a set with a script is the file's value, or a test function's argument.
pub(super) fn is_set_of_test(set: &rnix::SyntaxNode, names: usize) -> bool {
    let mut node = set.clone();
    while let Some(parent) = node.parent() {
        if let Some(call) = ast::Apply::cast(parent.clone()) {
            return call.argument().is_some_and(|it| it.syntax() == &node) && makes_test(&call);
        }
        if let Some(definition) = ast::AttrpathValue::cast(parent.clone()) {
            return is_member_of_test(&definition, names);
        }
        let is_root = ast::Root::can_cast(parent.kind());
        let is_update = ast::BinOp::cast(parent.clone())
            .is_some_and(|it| it.operator() == Some(ast::BinOpKind::Update));
        if !is_root && !is_update && !passes_on(&parent, &node) {
            return false;
        }
        node = parent;
    }
    true
}

/// Whether the definition of a name, whose value is a set with a script, is that of a test.
fn is_member_of_test(definition: &ast::AttrpathValue, names: usize) -> bool {
    let Some(parent) = definition.syntax().parent() else {
        return false;
    };
    if ast::LetIn::can_cast(parent.kind()) {
        let name = key(definition);
        return names > 0
            && name.is_some_and(|name| match only_use(definition, &name) {
                Some(Use::Name(used)) => is_set_of_test(used.syntax(), names - 1),
                _ => false,
            });
    }
    ast::AttrSet::cast(parent)
        .filter(|set| set.rec_token().is_none())
        .is_some_and(|set| is_set_of_test(set.syntax(), names))
}

/// Whether a call is that of a function that makes a test. One of the file's own may do anything.
fn makes_test(call: &ast::Apply) -> bool {
    let Some(function) = call.lambda() else {
        return false;
    };
    let name = match &function {
        Expr::Ident(name) => Some(name.to_string()),
        Expr::Select(select) => select
            .attrpath()
            .and_then(|path| path.attrs().last())
            .map(|name| name.to_string()),
        Expr::Apply(import) => {
            let is_import = import
                .lambda()
                .is_some_and(|it| it.syntax().text() == "import");
            let file = import.argument().map(|it| it.syntax().text().to_string());
            return is_import && file.is_some_and(|file| file.ends_with(TEST_FILE));
        }
        _ => None,
    };
    name.is_some_and(|name| TEST_FUNCTIONS.contains(&&*name) && !is_defined(call.syntax(), &name))
}

/// Whether a file defines a name itself.
fn is_defined(node: &rnix::SyntaxNode, name: &str) -> bool {
    let root = node.ancestors().last();
    let mut nodes = root.into_iter().flat_map(|root| root.descendants());
    nodes.any(|node| {
        if let Some(definition) = ast::AttrpathValue::cast(node.clone()) {
            let path = definition.attrpath();
            let last = path.and_then(|path| path.attrs().last());
            return last.is_some_and(|last| last.to_string() == name);
        }
        if let Some(entry) = ast::PatEntry::cast(node.clone()) {
            return entry.default().is_some()
                && entry.ident().is_some_and(|it| it.to_string() == name);
        }
        ast::IdentParam::cast(node).is_some_and(|param| param.to_string() == name)
    })
}

/// Whether a parent's value is that of its child, or has it as a part.
fn passes_on(parent: &rnix::SyntaxNode, child: &rnix::SyntaxNode) -> bool {
    let is = |expression: Option<Expr>| expression.is_some_and(|it| it.syntax() == child);
    match Expr::cast(parent.clone()) {
        Some(Expr::Paren(_)) => true,
        Some(Expr::Lambda(lambda)) => is(lambda.body()),
        Some(Expr::LetIn(let_in)) => is(let_in.body()),
        Some(Expr::With(with)) => is(with.body()),
        Some(Expr::Assert(assert)) => is(assert.body()),
        Some(Expr::IfElse(choice)) => is(choice.body()) || is(choice.else_body()),
        Some(Expr::BinOp(sum)) => sum.operator() == Some(ast::BinOpKind::Add),
        _ => false,
    }
}

/// The single use of a name.
enum Use {
    Name(ast::Ident),
    /// The set that has it by `inherit`.
    Inherited(rnix::SyntaxNode),
}

/// Returns the use of a name that a `let` defines; `None` if it is used more than once in the file, or not at all.
fn only_use(definition: &ast::AttrpathValue, name: &str) -> Option<Use> {
    let root = definition.syntax().ancestors().last()?;
    let idents = root.descendants().filter_map(ast::Ident::cast);
    let places = idents.filter(|it| it.to_string() == name).filter(|it| {
        let parent = it.syntax().parent();
        // The names of attributes are no uses; but in `inherit (x) name` it may be this one's.
        !parent.is_some_and(|parent| ast::Attrpath::can_cast(parent.kind()))
    });
    let [used] = &places.collect::<Vec<_>>()[..] else {
        return None;
    };
    let parent = used.syntax().parent()?;
    let Some(inherit) = ast::Inherit::cast(parent) else {
        return Some(Use::Name(used.clone()));
    };
    let set = inherit.syntax().parent()?;
    (inherit.from().is_none() && ast::AttrSet::cast(set.clone())?.rec_token().is_none())
        .then_some(Use::Inherited(set))
}

/// The name that a definition has, if that is one name and no path.
pub(super) fn key(definition: &ast::AttrpathValue) -> Option<String> {
    let path = definition.attrpath()?;
    let mut attributes = path.attrs();
    match (attributes.next()?, attributes.next()) {
        (ast::Attr::Ident(name), None) => Some(name.to_string()),
        _ => None,
    }
}
