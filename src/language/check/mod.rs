//! The check of a script before anything boots: syntax, names, calls, and what cannot be meant.

mod calls;
mod containers;
mod finding;
mod flow;
mod imports;
mod links;
mod missing_modules;
mod module_names;
pub(super) mod names;
mod not_offered;
mod python;
mod quantities;
mod reader;
pub(super) mod tree_walk;
pub(super) mod types;
mod unknown;

use std::collections::{BTreeMap, BTreeSet};

use rustpython_vm::compiler::{self, CompileError, CompileOpts, Mode, parser};

use super::Vocabulary;
use crate::model::manifest::{BackendKind, Manifest, Node, python_name};
use names::ScriptNames;

pub use containers::{ContainerObstacle, ObstacleKind, container_obstacles};
pub use finding::{Finding, Severity, count, stops};
pub use flow::SubtestPlace;
pub use module_names::{ModuleNames, names_of_module};

/// Python's own recursion is the stack's here: room for deep scripts.
const STACK_BYTES: usize = 1 << 30;

/// Brackets and operators of one statement, beyond which trees get too deep to walk.
const STATEMENT_TOKENS: usize = 200_000;

/// The facts that a test says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestContext {
    /// The nodes as the script names them. If they are unknown, a name
    /// that is only used as a machine is taken for one.
    pub machines: Option<Vec<String>>,
    /// Further names of the same machines.
    pub further_names: Vec<String>,
    /// The virtual networks; if they are not known, any `vlanN` is one.
    pub vlans: Option<Vec<u32>>,
    /// The virtual networks of nodes, by the nodes' names in the script; a node without an entry has unknown ones.
    pub networks: BTreeMap<String, Vec<u32>>,
    /// The names of machines that are containers.
    pub containers: Vec<String>,
    pub kind: SourceKind,
    /// The names in the modules that the script imports from its folders, by the modules' names.
    pub modules: BTreeMap<String, ModuleNames>,
    /// The modules and packages that are beside the test; `None` if the script may import others as well.
    pub beside: Option<BTreeSet<String>>,
}

/// The kind of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SourceKind {
    /// A script knows the test API and its machines.
    #[default]
    Script,
    /// A module knows what it imports.
    Module,
}

/// Which parts of the check are wanted. Syntax always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Names, and statements without an effect.
    pub lint: Toggle,
    /// Members of the test API, and arguments of calls.
    pub types: Toggle,
}

/// Whether a part of the check is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toggle {
    On,
    Off,
}

impl Parts {
    pub const ALL: Self = Self {
        lint: Toggle::On,
        types: Toggle::On,
    };
    /// Syntax only.
    pub const NONE: Self = Self {
        lint: Toggle::Off,
        types: Toggle::Off,
    };

    /// Returns the parts of the check that a test does not leave out by `skipLint` and `skipTypeCheck`.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        let mut parts = Self::ALL;
        if manifest.skip_lint {
            parts.lint = Toggle::Off;
        }
        if manifest.skip_type_check {
            parts.types = Toggle::Off;
        }
        parts
    }
}

impl TestContext {
    /// The names that a manifest gives to its script.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        // The driver of nixpkgs 20.09 also has machines under their host names.
        let machine_names = manifest.nodes.values().filter_map(Node::machine_name);
        let nodes = manifest.nodes.keys();
        Self {
            machines: Some(nodes.map(|node| python_name(node)).collect()),
            further_names: machine_names.map(python_name).collect(),
            vlans: Some(manifest.vlans.clone()),
            networks: manifest
                .nodes
                .iter()
                .map(|(name, node)| (python_name(name), node.vlans.clone()))
                .collect(),
            containers: manifest
                .nodes
                .iter()
                .filter(|(_, node)| node.kind() == Some(BackendKind::Container))
                .map(|(name, _)| python_name(name))
                .collect(),
            ..Self::default()
        }
    }
}

/// Everything that was found, in the order of the script.
#[must_use]
pub fn check(source: &str, context: &TestContext, parts: Parts) -> Vec<Finding> {
    with_deep_stack(|| check_here(source, context, parts))
}

/// Trees are walked, and dropped, by recursion: deep ones need a deep stack.
pub(super) fn with_deep_stack<T: Send>(work: impl Fn() -> T + Send + Sync) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, &work);
        match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            // Without a thread of its own it is done on this one's stack.
            Err(_) => work(),
        }
    })
}

fn check_here(source: &str, context: &TestContext, parts: Parts) -> Vec<Finding> {
    if let Some(finding) = unreadable(source) {
        return vec![finding];
    }
    let parsed = parser::parse_unchecked(source, parser::ParseOptions::from(parser::Mode::Module));
    let errors = parsed.errors().iter().map(syntax_finding).collect();
    let mut findings = match compile_error(source) {
        None => Vec::new(),
        // Everything after it is in its wake.
        Some((finding, Reach::ToTheEnd)) => vec![finding],
        Some((finding, Reach::Here)) if parsed.errors().is_empty() => vec![finding],
        Some((_, Reach::Here)) => errors,
    };
    let Some(parsed) = parsed.try_into_module().filter(|_| findings.is_empty()) else {
        // What the rest would find in half a script is noise.
        return findings;
    };
    let names = tree_walk::read(parsed.suite());
    let scene = types::Scene::new(Vocabulary::standard(), context, &names);
    if parts.lint == Toggle::On {
        findings.extend(unknown::unknown_names(&scene));
        findings.extend(imports::check(parsed.suite(), &scene));
        if let Some(beside) = &context.beside {
            findings.extend(missing_modules::check(source, parsed.suite(), beside));
        }
        findings.extend(flow::check(parsed.suite()));
        findings.extend(unused_nodes(context, &names));
    }
    if parts.types == Toggle::On {
        findings.extend(calls::check(&scene));
        findings.extend(links::check(&scene));
        findings.extend(containers::check(source, context, &names));
    }
    findings.sort_by_key(|finding| {
        finding
            .range
            .as_ref()
            .map_or(usize::MAX, |range| range.start)
    });
    findings
}

/// The names of the subtests of a script, in order; none if it cannot be read.
#[must_use]
pub fn subtest_names(source: &str) -> Vec<String> {
    with_deep_stack(|| match parser::parse_module(source) {
        Ok(parsed) => flow::subtests(parsed.suite())
            .into_iter()
            .map(|subtest| subtest.name)
            .collect(),
        Err(_) => Vec::new(),
    })
}

/// The subtests of a script that is being written, as far as it can be read.
#[must_use]
pub fn subtests(source: &str) -> Vec<SubtestPlace> {
    if unreadable(source).is_some() {
        return Vec::new();
    }
    with_deep_stack(|| {
        let options = parser::ParseOptions::from(parser::Mode::Module);
        let parsed = parser::parse_unchecked(source, options).try_into_module();
        parsed.map_or_else(Vec::new, |parsed| flow::subtests(parsed.suite()))
    })
}

/// The names that a script uses only as machines, in order.
#[must_use]
pub fn seeming_machines(source: &str, vocabulary: &Vocabulary) -> Vec<String> {
    with_deep_stack(|| seeming_machines_here(source, vocabulary))
}

fn seeming_machines_here(source: &str, vocabulary: &Vocabulary) -> Vec<String> {
    let Ok(parsed) = parser::parse_module(source) else {
        return Vec::new();
    };
    let names = tree_walk::read(parsed.suite());
    let unknown = TestContext::default();
    let scene = types::Scene::new(vocabulary, &unknown, &names);
    let mut machines = scene.machine_names();
    // The only one also goes by this name.
    if machines.len() != 1 && names.uses_unbound("machine") {
        machines.push("machine".to_owned());
    }
    machines.sort();
    machines
}

/// The modules that a script uses without importing them, as it may under the
/// driver of nixpkgs 20.09.
#[must_use]
pub fn implied_modules<'v>(source: &str, vocabulary: &'v Vocabulary) -> Vec<&'v str> {
    let Ok(parsed) = parser::parse_module(source) else {
        return Vec::new();
    };
    let names = tree_walk::read(parsed.suite());
    let modules = vocabulary.implied_modules.iter().map(String::as_str);
    modules
        .filter(|module| names.uses_unbound(module))
        .collect()
}

/// Returns a finding for a text that no parser can read.
pub(super) fn unreadable(source: &str) -> Option<Finding> {
    if let Some(position) = source.find('\0') {
        return Some(Finding::error(
            "syntax",
            "the script holds a NUL byte".to_owned(),
            position..position + 1,
        ));
    }
    let begin = deep_statement(source)?;
    Some(Finding::error(
        "syntax",
        format!("a statement of more than {STATEMENT_TOKENS} operators"),
        begin..begin + 1,
    ))
}

/// Where a run of lines without end or indentation holds too many operators.
/// Strings are not distinguished from code: a long text has few operators a line.
fn deep_statement(source: &str) -> Option<usize> {
    let mut begin = 0;
    let mut operators = 0;
    for (position, byte) in source.bytes().enumerate() {
        match byte {
            b'\n' if !source[..position].ends_with(['\\', '(', '[', '{', ',', '+']) => {
                begin = position + 1;
                operators = 0;
            }
            b'(' | b'[' | b'{' | b'+' | b'-' | b'*' | b'/' | b'%' | b'&' | b'|' | b'^' | b'~'
            | b'.' => operators += 1,
            _ => {}
        }
        if operators > STATEMENT_TOKENS {
            return Some(begin);
        }
    }
    None
}

fn syntax_finding(error: &parser::ParseError) -> Finding {
    let message = error.error.to_string();
    // Sentences in this program's messages begin small.
    let mut chars = message.chars();
    let message = chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().collect::<String>() + chars.as_str()
    });
    Finding::error(
        "syntax",
        message,
        error.location.start().to_usize()..error.location.end().to_usize(),
    )
}

/// How far a mistake confuses what follows on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Here,
    ToTheEnd,
}

/// Returns the first error of the compiler. It also finds errors beyond grammar, such as `return` outside of a
/// function.
fn compile_error(source: &str) -> Option<(Finding, Reach)> {
    let error =
        compiler::compile(source, Mode::Exec, "testScript", CompileOpts::default()).err()?;
    let (reach, range) = match &error {
        CompileError::Parse(error) => {
            let unclosed = error.is_unclosed_bracket || error.is_unclosed_string;
            let reach = if unclosed {
                Reach::ToTheEnd
            } else {
                Reach::Here
            };
            let range = error.raw_location;
            let (line, column) = (
                error.location.line.get(),
                error.location.character_offset.get(),
            );
            let begin = if unclosed {
                python::offset_of_char(source, line, column)
            } else {
                range.start().to_usize()
            };
            (
                reach,
                begin..(begin + 1).max(if unclosed { 0 } else { range.end().to_usize() }),
            )
        }
        CompileError::Codegen(_) => {
            let (line, column) = error.python_location();
            let begin = python::offset(source, line, column);
            (Reach::Here, begin..begin + 1)
        }
    };
    Some((Finding::error("syntax", error.to_string(), range), reach))
}

fn unused_nodes(context: &TestContext, names: &ScriptNames<'_>) -> Vec<Finding> {
    let machines = context.machines.as_deref().unwrap_or_default();
    let named_otherwise = context
        .further_names
        .iter()
        .any(|name| names.mentions(name));
    let all_are_used = [
        "start_all",
        "machines",
        "machines_qemu",
        "driver",
        "run_tests",
        "machine",
    ]
    .iter()
    .any(|word| names.mentions(word));
    if all_are_used || named_otherwise {
        return Vec::new();
    }
    machines
        .iter()
        .filter(|machine| !names.mentions(machine))
        .map(|machine| Finding {
            level: Severity::Note,
            code: "unused-node",
            message: format!("the node `{machine}` is never used, and never starts"),
            help: None,
            range: None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
