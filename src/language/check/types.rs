//! Types of expressions, as far as the vocabulary knows them.
//!
//! The inference of parameters and lists is complete as it is: the type checker `ty`, which the check runs if it is
//! installed, infers more (see docs/src/failures.md).

use std::collections::HashSet;

use rustpython_vm::compiler::ast::{self, Expr, Number, Operator, UnaryOp};
use rustpython_vm::compiler::parser;

use super::module_names::ModuleNames;
use super::names::{Binding, From, ScopeId, ScriptNames, Use};
use super::{SourceKind, TestContext};
use crate::language::{Class, Function, Vocabulary};
use crate::model::manifest::only_machine_name;

/// Limits how many names are followed: two may be bound to each other.
const DEEPEST: u32 = 20;

/// The type of a value, as far as known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::language) enum Type<'v> {
    Unknown,
    /// An object of a class of the table.
    Object(&'v Class),
    ListOf(Box<Type<'v>>),
    /// A function or bound method of the table.
    Function(&'v Function),
}

/// Names that each module has.
const MODULE_NAMES: [&str; 6] = [
    "__name__",
    "__file__",
    "__doc__",
    "__package__",
    "__path__",
    "__spec__",
];

/// A script with everything that its names can mean.
#[derive(Debug)]
pub(in crate::language) struct Scene<'v, 'a> {
    pub names: &'v ScriptNames<'a>,
    vocabulary: &'v Vocabulary,
    context: &'v TestContext,
    /// The nodes as given, or as their uses tell.
    machines: HashSet<&'v str>,
}

impl<'v, 'a> Scene<'v, 'a> {
    pub fn new(
        vocabulary: &'v Vocabulary,
        context: &'v TestContext,
        names: &'v ScriptNames<'a>,
    ) -> Self {
        let mut scene = Self {
            names,
            vocabulary,
            context,
            machines: HashSet::new(),
        };
        scene.machines = match &context.machines {
            Some(machines) => machines
                .iter()
                .chain(&context.further_names)
                .map(String::as_str)
                .collect(),
            None if context.kind == SourceKind::Module => HashSet::new(),
            None => names
                .seeming_machines(|member| scene.is_machine_member(member))
                .into_iter()
                .filter(|name| !scene.is_word(name))
                .collect(),
        };
        scene
    }

    /// The nodes that the test has, where it says so.
    pub fn machines(&self) -> Option<&[String]> {
        self.context.machines.as_deref()
    }

    /// Returns the node that an expression names; `None` for any other expression.
    pub fn node(&self, scope: ScopeId, expression: &'a Expr) -> Option<&'a str> {
        let name = expression.as_name_expr()?.id.as_str();
        let machines = self.machines()?;
        let is_node = machines.iter().any(|machine| machine == name);
        (is_node && self.names.bindings(scope, name).is_none()).then_some(name)
    }

    /// Returns the virtual networks of a node; `None` if they are unknown.
    pub fn networks_of(&self, node: &str) -> Option<&[u32]> {
        self.context.networks.get(node).map(Vec::as_slice)
    }

    /// The machines, as given or as their uses tell.
    pub fn machine_names(&self) -> Vec<String> {
        self.machines.iter().map(ToString::to_string).collect()
    }

    /// Whether the test language knows the name by itself.
    pub fn is_word(&self, name: &str) -> bool {
        if self.context.kind == SourceKind::Module {
            return MODULE_NAMES.contains(&name);
        }
        self.machines.contains(name)
            || self.is_the_machine(name)
            || self.is_vlan(name)
            || self.vocabulary.all_names().any(|word| word == name)
    }

    /// Whether the text is a module's.
    pub fn is_of_module(&self) -> bool {
        self.context.kind == SourceKind::Module
    }

    /// Whether each script has the name.
    pub fn is_name_of_scripts(&self, name: &str) -> bool {
        self.vocabulary.all_names().any(|word| word == name)
    }

    /// Returns the names of a module beside the test, if the script imports it.
    pub fn module(&self, name: &str) -> Option<&ModuleNames> {
        self.context.modules.get(name)
    }

    /// Whether it is a module that only the driver of nixpkgs 20.09 imports.
    pub fn is_implied_module(&self, name: &str) -> bool {
        self.context.kind == SourceKind::Script
            && self
                .vocabulary
                .implied_modules
                .iter()
                .any(|module| module == name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.machines
            .iter()
            .copied()
            .chain(self.vocabulary.all_names())
    }

    pub fn is_machine_member(&self, name: &str) -> bool {
        self.vocabulary
            .class("Machine")
            .is_some_and(|class| has_member(class, name))
    }

    /// The only node is also called `machine`.
    fn is_the_machine(&self, name: &str) -> bool {
        let count = self.machines().map_or(1, <[String]>::len);
        only_machine_name(count) == Some(name)
    }

    fn is_vlan(&self, name: &str) -> bool {
        let vlans = self.context.vlans.as_ref();
        vlan_number(name).is_some_and(|number| vlans.is_none_or(|vlans| vlans.contains(&number)))
    }

    pub fn of(&self, scope: ScopeId, expression: &Expr) -> Type<'v> {
        self.at_depth(scope, expression, 0)
    }

    /// Returns the type of a use of a name.
    pub fn of_use(&self, used: &Use<'_>) -> Type<'v> {
        self.of_name(used.scope, used.name, 0)
    }

    fn at_depth(&self, scope: ScopeId, expression: &Expr, depth: u32) -> Type<'v> {
        if depth > DEEPEST {
            return Type::Unknown;
        }
        let of = |expression: &Expr| self.at_depth(scope, expression, depth + 1);
        match expression {
            Expr::Name(name) => self.of_name(scope, name.id.as_str(), depth),
            Expr::Attribute(attribute) => match of(&attribute.value) {
                // What the script sets itself may be anything.
                Type::Object(class) if !self.is_own(attribute.attr.as_str()) => {
                    self.of_member(class, attribute.attr.as_str())
                }
                _ => Type::Unknown,
            },
            Expr::Call(call) if self.keeps_elements(scope, call) => of(&call.arguments.args[0]),
            Expr::Call(call) => match of(&call.func) {
                Type::Function(function) if !function.context_manager => {
                    self.of_annotation_text(&function.returns)
                }
                _ => Type::Unknown,
            },
            Expr::Subscript(subscript) => match (of(&subscript.value), &*subscript.slice) {
                (list @ Type::ListOf(_), Expr::Slice(_)) => list,
                (Type::ListOf(element), _) => *element,
                _ => Type::Unknown,
            },
            Expr::Named(named) => of(&named.value),
            Expr::If(choice) => either(&[of(&choice.body), of(&choice.orelse)]),
            Expr::BoolOp(choice) => either(&choice.values.iter().map(of).collect::<Vec<_>>()),
            Expr::List(list) => same(list.elts.iter().map(of)),
            Expr::Tuple(tuple) => same(tuple.elts.iter().map(of)),
            _ => Type::Unknown,
        }
    }

    fn of_name(&self, scope: ScopeId, name: &str, depth: u32) -> Type<'v> {
        let word = self.of_word(name);
        let Some(bindings) = self.names.bindings(scope, name) else {
            return word;
        };
        if self.names.changing.contains(name) {
            return Type::Unknown;
        }
        let mut types = bindings
            .iter()
            .map(|binding| self.of_binding(*binding, depth));
        let Some(first) = types.next() else {
            return Type::Unknown;
        };
        let agreed = types.all(|other| other == first);
        // Before it is bound anew, a word is what it was.
        let word_agrees = word == Type::Unknown || word == first;
        if agreed && word_agrees {
            first
        } else {
            Type::Unknown
        }
    }

    fn of_binding(&self, binding: Binding<'a>, depth: u32) -> Type<'v> {
        match binding.from {
            From::Value(value) => self.at_depth(binding.scope, value, depth + 1),
            From::ElementOf(list) => match self.at_depth(binding.scope, list, depth + 1) {
                Type::ListOf(element) => *element,
                _ => Type::Unknown,
            },
            From::Annotation(annotation) => self.of_annotation(Some(binding.scope), annotation),
            From::Argument(function, position) => self.of_argument(function, position, depth),
            From::Api(name) => self.of_word(name),
            From::Unknown => Type::Unknown,
        }
    }

    /// Whether the script itself sets an attribute of this name.
    fn is_own(&self, attribute: &str) -> bool {
        self.names.own_attributes.contains(attribute)
    }

    /// `sorted(machines)` and the like.
    fn keeps_elements(&self, scope: ScopeId, call: &ast::ExprCall) -> bool {
        let Expr::Name(name) = &*call.func else {
            return false;
        };
        matches!(name.id.as_str(), "sorted" | "reversed" | "list" | "tuple")
            && self.names.bindings(scope, name.id.as_str()).is_none()
            && call.arguments.args.len() == 1
    }

    /// A parameter is what all calls of its function pass, where the function
    /// is only ever called.
    fn of_argument(&self, function: &str, position: usize, depth: u32) -> Type<'v> {
        let calls = self.names.calls_of(function);
        if depth > DEEPEST / 4 || calls.is_empty() {
            return Type::Unknown;
        }
        let passed = calls.iter().map(|place| {
            let arguments = &place.node.arguments;
            let plain = !arguments.args.iter().any(Expr::is_starred_expr);
            match arguments.args.get(position).filter(|_| plain) {
                Some(argument) => self.at_depth(place.scope, argument, depth + 1),
                None => Type::Unknown,
            }
        });
        either(&passed.collect::<Vec<_>>())
    }

    fn of_word(&self, name: &str) -> Type<'v> {
        if self.machines.contains(name) || self.is_the_machine(name) {
            self.object("Machine")
        } else if self.is_vlan(name) {
            self.object("VLan")
        } else if let Some(annotation) = self.vocabulary.value(name) {
            self.of_annotation_text(annotation)
        } else {
            self.vocabulary
                .function(name)
                .map_or(Type::Unknown, Type::Function)
        }
    }

    fn object(&self, class: &str) -> Type<'v> {
        self.vocabulary
            .class(class)
            .map_or(Type::Unknown, Type::Object)
    }

    fn of_member(&self, class: &'v Class, name: &str) -> Type<'v> {
        if let Some(method) = class.method(name) {
            Type::Function(method)
        } else if let Some(property) = class.property(name) {
            self.of_annotation_text(&property.annotation)
        } else {
            Type::Unknown
        }
    }

    fn of_annotation_text(&self, text: &str) -> Type<'v> {
        parser::parse_expression(text).map_or(Type::Unknown, |parsed| {
            self.of_annotation(None, parsed.expr())
        })
    }

    /// In the script's own annotations, its own names come first.
    fn of_annotation(&self, scope: Option<ScopeId>, annotation: &Expr) -> Type<'v> {
        match annotation {
            Expr::Name(name) => {
                let own = scope.and_then(|scope| self.names.bindings(scope, name.id.as_str()));
                match own {
                    None => self.object(name.id.as_str()),
                    Some(
                        [
                            Binding {
                                from: From::Api(name),
                                ..
                            },
                        ],
                    ) => self.object(name),
                    Some(_) => Type::Unknown,
                }
            }
            Expr::Subscript(subscript) => match &*subscript.value {
                Expr::Name(name) if matches!(name.id.as_str(), "list" | "List") => {
                    Type::ListOf(Box::new(self.of_annotation(scope, &subscript.slice)))
                }
                _ => Type::Unknown,
            },
            Expr::StringLiteral(text) => parser::parse_expression(text.value.to_str())
                .map_or(Type::Unknown, |parsed| {
                    self.of_annotation(scope, parsed.expr())
                }),
            _ => Type::Unknown,
        }
    }

    /// Whether a literal fits an annotation; `None` if it is not a literal.
    pub fn fits(&self, value: &Expr, annotation: &str) -> Option<bool> {
        let literal = literal(value)?;
        let resolved = self.vocabulary.resolve(annotation);
        let parsed = parser::parse_expression(resolved).ok()?;
        Some(accepts(parsed.expr(), literal))
    }

    /// An annotation as a message shows it.
    pub fn explain(&self, annotation: &str) -> String {
        self.vocabulary
            .resolve(annotation)
            .replace("Duration", "number of seconds")
            .replace("Fraction", "number from 0 to 1")
    }
}

/// Returns the number in the name of a virtual network, such as `vlan1`.
pub(super) fn vlan_number(name: &str) -> Option<u32> {
    name.strip_prefix("vlan")?.parse().ok()
}

pub(in crate::language) fn has_member(class: &Class, name: &str) -> bool {
    class.method(name).is_some() || class.property(name).is_some()
}

fn same<'v>(types: impl Iterator<Item = Type<'v>>) -> Type<'v> {
    match either(&types.collect::<Vec<_>>()) {
        Type::Unknown => Type::Unknown,
        element => Type::ListOf(Box::new(element)),
    }
}

/// Returns the common type of all values, if there is one.
fn either<'v>(types: &[Type<'v>]) -> Type<'v> {
    match types.split_first() {
        Some((first, others)) if others.iter().all(|other| other == first) => first.clone(),
        _ => Type::Unknown,
    }
}

/// Returns Python's name for the type of a literal.
pub(in crate::language) fn literal(value: &Expr) -> Option<&'static str> {
    Some(match value {
        Expr::StringLiteral(_) | Expr::FString(_) => "str",
        Expr::BytesLiteral(_) => "bytes",
        Expr::NumberLiteral(number) => match number.value {
            Number::Int(_) => "int",
            Number::Float(_) => "float",
            Number::Complex { .. } => "complex",
        },
        Expr::UnaryOp(unary) if matches!(unary.op, UnaryOp::USub | UnaryOp::UAdd) => {
            literal(&unary.operand).filter(|kind| matches!(*kind, "int" | "float"))?
        }
        Expr::BooleanLiteral(_) => "bool",
        Expr::NoneLiteral(_) => "None",
        Expr::List(_) | Expr::ListComp(_) => "list",
        Expr::Dict(_) | Expr::DictComp(_) => "dict",
        Expr::Set(_) | Expr::SetComp(_) => "set",
        Expr::Tuple(_) => "tuple",
        Expr::Lambda(_) => "function",
        _ => return None,
    })
}

fn accepts(annotation: &Expr, literal: &str) -> bool {
    match annotation {
        Expr::BinOp(union) if union.op == Operator::BitOr => {
            accepts(&union.left, literal) || accepts(&union.right, literal)
        }
        Expr::NoneLiteral(_) => literal == "None",
        Expr::Subscript(generic) => accepts(&generic.value, literal),
        Expr::Name(name) => match name.id.as_str() {
            "Any" | "object" => true,
            // Any number is a truth value, and a truth value is a number.
            "int" | "bool" => matches!(literal, "int" | "bool"),
            "float" => matches!(literal, "int" | "float" | "bool"),
            "Duration" | "Fraction" => matches!(literal, "int" | "float"),
            "Rate" | "Size" => literal == "str",
            "Port" => literal == "int",
            "Callable" => literal == "function",
            other => other == literal,
        },
        _ => false,
    }
}
