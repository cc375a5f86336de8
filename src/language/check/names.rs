//! The names of a script: their bindings, their uses, and the unknown ones.

use std::collections::{HashMap, HashSet};

use ruff_text_size::{Ranged, TextRange};
use rustpython_vm::compiler::ast::{self, Expr};

pub(in crate::language) type ScopeId = usize;

/// All names of a script.
#[derive(Debug, Default)]
pub(in crate::language) struct ScriptNames<'a> {
    pub scopes: Vec<Scope<'a>>,
    pub uses: Vec<Use<'a>>,
    pub attributes: Vec<Occurrence<'a, ast::ExprAttribute>>,
    pub calls: Vec<Occurrence<'a, ast::ExprCall>>,
    /// Attributes that the script sets or asks for itself.
    pub own_attributes: HashSet<&'a str>,
    /// Statements that are nothing but an attribute.
    pub statements: Vec<Occurrence<'a, ast::ExprAttribute>>,
    /// Statements that are nothing but a call.
    pub statement_calls: Vec<Occurrence<'a, ast::ExprCall>>,
    /// Names whose values change: lists that grow, values whose type is tested.
    pub changing: HashSet<&'a str>,
    /// Whether names can come about that are not to be seen.
    pub dynamic: bool,
    /// Whether a module brings all its names.
    pub imports_all: bool,
    /// Whether annotations are never evaluated.
    pub lazy_annotations: bool,
}

/// An expression and where it stands.
#[derive(Debug)]
pub(in crate::language) struct Occurrence<'a, T> {
    pub node: &'a T,
    pub scope: ScopeId,
    /// Whether an exception there is caught.
    pub guarded: bool,
}

#[derive(Debug, Default)]
pub(in crate::language) struct Scope<'a> {
    pub kind: ScopeKind,
    pub parent: Option<ScopeId>,
    pub bindings: HashMap<&'a str, Vec<Binding<'a>>>,
    /// Names of the module, or of a function around this one.
    pub elsewhere: HashMap<&'a str, ScopeKind>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::language) enum ScopeKind {
    #[default]
    Module,
    Function,
    Class,
    Comprehension,
}

/// How a name got its value.
#[derive(Debug, Clone, Copy)]
pub(in crate::language) struct Binding<'a> {
    pub from: From<'a>,
    /// The scope in which the expression is to be read.
    pub scope: ScopeId,
}

#[derive(Debug, Clone, Copy)]
pub(in crate::language) enum From<'a> {
    Value(&'a Expr),
    ElementOf(&'a Expr),
    Annotation(&'a Expr),
    /// The argument at a position of the calls of a function.
    Argument(&'a str, usize),
    /// The test API has the name that is imported.
    Api(&'a str),
    Unknown,
}

#[derive(Debug)]
pub(in crate::language) struct Use<'a> {
    pub name: &'a str,
    pub range: TextRange,
    pub scope: ScopeId,
    pub guarded: bool,
    /// The attribute that is taken of it at once.
    pub attribute: Option<&'a str>,
}

impl<'a> ScriptNames<'a> {
    /// Whether the name occurs anywhere.
    pub fn mentions(&self, name: &str) -> bool {
        self.uses.iter().any(|used| used.name == name)
    }

    /// All calls of a function of the script; none if it is also passed on,
    /// or is bound to more than itself.
    pub fn calls_of(&self, function: &str) -> Vec<&Occurrence<'a, ast::ExprCall>> {
        let once = self
            .bindings(0, function)
            .is_some_and(|bindings| bindings.len() == 1);
        let called = |place: &&Occurrence<'a, ast::ExprCall>| {
            let name = place.node.func.as_name_expr();
            name.is_some_and(|name| name.id.as_str() == function)
        };
        let calls: Vec<_> = self.calls.iter().filter(called).collect();
        let uses = self
            .uses
            .iter()
            .filter(|used| used.name == function)
            .count();
        if once && uses == calls.len() {
            calls
        } else {
            Vec::new()
        }
    }

    /// Whether the name occurs where nothing binds it.
    pub fn uses_unbound(&self, name: &str) -> bool {
        let mut uses = self.uses.iter().filter(|used| used.name == name);
        uses.any(|used| self.bindings(used.scope, used.name).is_none())
    }

    /// The bindings of a name as seen from a scope; none where the script does not bind it.
    pub fn bindings(&self, scope: ScopeId, name: &str) -> Option<&[Binding<'a>]> {
        let mut current = self.home(scope, name);
        let mut innermost = true;
        loop {
            let here = &self.scopes[current];
            if (innermost || here.kind != ScopeKind::Class)
                && let Some(bindings) = here.bindings.get(name)
            {
                return Some(bindings);
            }
            innermost = false;
            current = here.parent?;
        }
    }

    /// Where the search for a name begins.
    pub fn home(&self, scope: ScopeId, name: &str) -> ScopeId {
        match self.scopes[scope].elsewhere.get(name) {
            Some(ScopeKind::Module) => 0,
            Some(_) => self.scopes[scope].parent.unwrap_or(0),
            None => scope,
        }
    }

    /// Names that nothing binds and that are only used as machines.
    pub fn seeming_machines(&self, is_member: impl Fn(&str) -> bool) -> HashSet<&'a str> {
        let free = || {
            self.uses
                .iter()
                .filter(|used| self.bindings(used.scope, used.name).is_none())
        };
        let mut machines: HashSet<&str> = free()
            .filter(|used| used.attribute.is_some_and(&is_member))
            .map(|used| used.name)
            .collect();
        for used in free() {
            if !used.attribute.is_some_and(&is_member) {
                machines.remove(used.name);
            }
        }
        machines
    }
}

impl<T: Ranged> Occurrence<'_, T> {
    pub fn range(&self) -> std::ops::Range<usize> {
        let range = self.node.range();
        range.start().to_usize()..range.end().to_usize()
    }
}
