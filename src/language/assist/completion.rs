//! Completions: the names, arguments and units that can follow at a position of a script.

use std::collections::BTreeSet;
use std::ops::Range;

use rustpython_vm::compiler::ast::Expr;

use super::WrittenScript;
use super::hover::{described, signature_text};
use super::reading::{CallAround, Reading, bytes, own_names, read_at};
use crate::language::check::types::Type;
use crate::language::{Class, ParameterKind, Vocabulary};
use crate::model::manifest::only_machine_name;

/// The parameters whose argument is the name of a systemd unit.
const UNITS: [&str; 2] = ["unit", "jobname"];

/// Units that systemd brings itself, and tests wait for.
const OF_SYSTEMD: [&str; 5] = [
    "default.target",
    "graphical.target",
    "multi-user.target",
    "network-online.target",
    "network.target",
];

/// One way to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    pub label: String,
    pub kind: CompletionKind,
    /// The type or the signature.
    pub detail: String,
    pub doc: String,
    /// The bytes of the script that the label replaces.
    pub range: Range<usize>,
}

/// The kind of name that a completion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompletionKind {
    Method,
    Property,
    Function,
    Class,
    Machine,
    Variable,
    /// A keyword argument; its label ends with `=`.
    Argument,
    Unit,
}

/// Returns what can follow at a position, sorted by kind of name.
#[must_use]
pub fn completions(script: WrittenScript<'_>, offset: usize) -> Vec<Completion> {
    let found = read_at(script, offset, |reading| Some(at(script, reading)));
    found.unwrap_or_default()
}

fn at(script: WrittenScript<'_>, reading: &Reading<'_, '_>) -> Vec<Completion> {
    let call = reading.call();
    if let Some(call) = &call
        && let Some(content) = reading.string(call)
    {
        return units(script, reading, call, &content);
    }
    let range = reading.word();
    if let Some(place) = reading.attribute() {
        return match reading.scene.of(place.scope, &place.node.value) {
            Type::Object(class) => members(class, &range),
            _ => Vec::new(),
        };
    }
    if reading.name().is_none() && !is_before_name(reading) {
        return Vec::new();
    }
    let mut found = call.map_or_else(Vec::new, |call| arguments(reading, &call, &range));
    found.extend(names(script, reading, &range));
    found
}

/// Whether a name may begin at the position.
fn is_before_name(reading: &Reading<'_, '_>) -> bool {
    let before = reading.text[..reading.offset].trim_end_matches([' ', '\t']);
    before.is_empty() || before.ends_with(['\n', '(', ',', '=', '[', ':', '{'])
}

fn members(class: &Class, range: &Range<usize>) -> Vec<Completion> {
    let properties = class.properties.iter().map(|property| Completion {
        label: property.name.clone(),
        kind: CompletionKind::Property,
        detail: property.annotation.clone(),
        doc: property.doc.clone(),
        range: range.clone(),
    });
    let methods = class.methods.iter().map(|method| Completion {
        label: method.name.clone(),
        kind: CompletionKind::Method,
        detail: signature_text(method),
        doc: described(method),
        range: range.clone(),
    });
    let all = methods.chain(properties);
    all.filter(|member| !member.label.starts_with('_'))
        .collect()
}

/// The keyword arguments of a call that it does not have yet.
fn arguments(
    reading: &Reading<'_, '_>,
    call: &CallAround<'_, '_>,
    range: &Range<usize>,
) -> Vec<Completion> {
    let keywords = call.place.node.arguments.keywords.iter();
    let given: BTreeSet<&str> = keywords
        .filter(|keyword| bytes(*keyword).end < reading.offset)
        .filter_map(|keyword| keyword.arg.as_deref())
        .collect();
    let positional = call.place.node.arguments.args.iter();
    let filled = positional
        .filter(|argument| bytes(*argument).end < reading.offset)
        .count();
    let parameters = call.function.parameters.iter().enumerate();
    parameters
        .filter(|(position, parameter)| match parameter.kind {
            ParameterKind::Positional => *position >= filled,
            ParameterKind::KeywordOnly => true,
            ParameterKind::Rest | ParameterKind::RestKeywords => false,
        })
        .map(|(_, parameter)| parameter)
        .filter(|parameter| !given.contains(parameter.name.as_str()))
        .map(|parameter| Completion {
            label: format!("{}=", parameter.name),
            kind: CompletionKind::Argument,
            detail: match &parameter.default {
                Some(default) => format!("{} = {default}", parameter.annotation),
                None => parameter.annotation.clone(),
            },
            doc: String::new(),
            range: range.clone(),
        })
        .collect()
}

/// The machines and networks of the test, the names of the script, and those of the test API.
fn names(
    script: WrittenScript<'_>,
    reading: &Reading<'_, '_>,
    range: &Range<usize>,
) -> Vec<Completion> {
    let one = |label: &str, kind, detail: &str, doc: &str| Completion {
        label: label.to_owned(),
        kind,
        detail: detail.to_owned(),
        doc: doc.to_owned(),
        range: range.clone(),
    };
    let context = script.context;
    let machines = context.machines.clone().unwrap_or_default();
    let mut names: BTreeSet<&str> = machines.iter().map(String::as_str).collect();
    names.extend(context.further_names.iter().map(String::as_str));
    names.extend(only_machine_name(machines.len()));
    let machines = names
        .iter()
        .map(|name| one(name, CompletionKind::Machine, "Machine", ""));
    let vlans = context.vlans.iter().flatten();
    let vlans = vlans.map(|vlan| one(&format!("vlan{vlan}"), CompletionKind::Variable, "VLan", ""));
    let here = own_names(reading);
    let own = here
        .into_iter()
        .map(|name| one(name, CompletionKind::Variable, "", ""));
    let vocabulary = Vocabulary::standard();
    let functions = vocabulary.functions.iter().map(|function| Completion {
        detail: signature_text(function),
        ..one(
            &function.name,
            CompletionKind::Function,
            "",
            &described(function),
        )
    });
    let values = vocabulary.values.iter();
    let values =
        values.map(|(name, annotation)| one(name, CompletionKind::Variable, annotation, ""));
    let classes = vocabulary.classes.iter();
    let classes = classes.map(|class| one(&class.name, CompletionKind::Class, "class", &class.doc));
    machines
        .chain(vlans)
        .chain(own)
        .chain(functions)
        .chain(values)
        .chain(classes)
        .collect()
}

/// The units of the machine whose method is called, or of all machines.
fn units(
    script: WrittenScript<'_>,
    reading: &Reading<'_, '_>,
    call: &CallAround<'_, '_>,
    content: &Range<usize>,
) -> Vec<Completion> {
    let parameter = reading.parameter(call);
    let parameter = parameter.and_then(|position| call.function.parameters.get(position));
    if parameter.is_none_or(|parameter| !UNITS.contains(&parameter.name.as_str())) {
        return Vec::new();
    }
    let receiver = match &*call.place.node.func {
        Expr::Attribute(attribute) => attribute.value.as_name_expr(),
        _ => None,
    };
    let known = receiver.and_then(|name| script.units.get(name.id.as_str()));
    let mut units: BTreeSet<&str> = match known {
        Some(units) => units.iter().map(String::as_str).collect(),
        None => script
            .units
            .values()
            .flatten()
            .map(String::as_str)
            .collect(),
    };
    // A guest without any has no systemd.
    if !units.is_empty() {
        units.extend(OF_SYSTEMD);
    }
    units
        .into_iter()
        .map(|unit| Completion {
            label: unit.to_owned(),
            kind: CompletionKind::Unit,
            detail: "systemd unit".to_owned(),
            doc: String::new(),
            range: content.start..reading.offset,
        })
        .collect()
}
