//! The Python of the test API and the operations of Rust agree: each call has an operation with the
//! same arguments, and each operation is called.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rustpython_vm::compiler::ast::visitor::{self, Visitor};
use rustpython_vm::compiler::ast::{self, Expr};
use rustpython_vm::compiler::parser;
use snowglobe::machine::Operation;

/// Names of arguments, by the operation's name.
type Operations = BTreeMap<String, BTreeSet<String>>;

/// The variants of an enum of a file, as serde names them.
fn variants(file: &str, name: &str) -> Operations {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let parsed = syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap();
    let found = parsed.items.iter().find_map(|item| match item {
        syn::Item::Enum(item) if item.ident == name => Some(item),
        _ => None,
    });
    let fields = |variant: &syn::Variant| {
        let names = variant
            .fields
            .iter()
            .filter_map(|field| field.ident.as_ref());
        // Names that Rust reserves are written `r#final`.
        names
            .map(|name| name.to_string().trim_start_matches("r#").to_owned())
            .collect()
    };
    let variants = &found.expect("the file has the enum").variants;
    variants
        .iter()
        .map(|variant| (snake_case(&variant.ident.to_string()), fields(variant)))
        .collect()
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

/// The calls of a function or method such as `_call("name", argument=…)`.
struct Calls<'a> {
    function: &'a str,
    found: Operations,
}

impl<'a> Visitor<'a> for Calls<'_> {
    fn visit_expr(&mut self, expression: &'a Expr) {
        if let Expr::Call(call) = expression {
            self.call(call);
        }
        visitor::walk_expr(self, expression);
    }
}

impl Calls<'_> {
    fn call(&mut self, call: &ast::ExprCall) {
        let name = match &*call.func {
            Expr::Name(name) => name.id.as_str(),
            Expr::Attribute(attribute) => attribute.attr.as_str(),
            _ => return,
        };
        let literal = call.arguments.args.first();
        let Some(Expr::StringLiteral(operation)) = literal.filter(|_| name == self.function) else {
            return;
        };
        let keywords = call.arguments.keywords.iter();
        let names = keywords.filter_map(|keyword| Some(keyword.arg.as_ref()?.to_string()));
        self.found
            .entry(operation.value.to_str().to_owned())
            .or_default()
            .extend(names);
    }
}

fn calls(function: &str) -> Operations {
    let mut calls = Calls {
        function,
        found: Operations::new(),
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/language/api/snowglobe");
    for entry in fs::read_dir(folder).unwrap() {
        let source = fs::read_to_string(entry.unwrap().path()).unwrap();
        let parsed = parser::parse_module(&source).unwrap();
        calls.visit_body(parsed.suite());
    }
    calls.found
}

#[test]
fn machines_are_asked_for_operations_that_exist() {
    let operations = Operation::ALL.iter().map(|(name, arguments)| {
        let arguments = arguments.iter().map(|name| (*name).to_owned());
        (snake_case(name), arguments.collect())
    });
    assert_eq!(calls("_call"), operations.collect());
}

#[test]
fn the_driver_is_asked_for_operations_that_exist() {
    assert_eq!(
        calls("drive"),
        variants("src/host/driver_operation.rs", "DriverOperation")
    );
}
