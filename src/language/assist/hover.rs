//! Descriptions of the names of a script.

use std::ops::Range;

use super::WrittenScript;
use super::reading::{Reading, bytes, read_at};
use crate::language::check::types::Type;
use crate::language::stub::signature;
use crate::language::{Availability, Function, Parameter, Vocabulary};

/// The description of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hover {
    /// A line of Python: `server: Machine`.
    pub code: String,
    pub doc: String,
    /// The bytes of the name.
    pub range: Range<usize>,
}

/// Returns a description of the name at a position; `None` if the test API knows nothing of it.
#[must_use]
pub fn hover(script: WrittenScript<'_>, offset: usize) -> Option<Hover> {
    read_at(script, offset, |reading| {
        member(reading).or_else(|| word(reading))
    })
}

/// Returns the name at a position if it is that of a machine.
#[must_use]
pub fn machine_at(script: WrittenScript<'_>, offset: usize) -> Option<String> {
    read_at(script, offset, |reading| {
        let used = reading.name()?;
        let is_own = reading
            .scene
            .names
            .bindings(used.scope, used.name)
            .is_some();
        let machines = script.context.machines.as_ref()?;
        let is_machine = machines.iter().any(|machine| machine == used.name);
        (is_machine && !is_own).then(|| used.name.to_owned())
    })
}

fn member(reading: &Reading<'_, '_>) -> Option<Hover> {
    let place = reading.attribute()?;
    let Type::Object(class) = reading.scene.of(place.scope, &place.node.value) else {
        return None;
    };
    let name = place.node.attr.as_str();
    let (code, doc) = match (class.method(name), class.property(name)) {
        (Some(method), _) => (format!("def {}", signature_text(method)), described(method)),
        (None, Some(property)) => {
            let code = format!("{name}: {}", property.annotation);
            (code, property.doc.clone())
        }
        (None, None) => return None,
    };
    Some(Hover {
        code,
        doc,
        range: bytes(&place.node.attr),
    })
}

fn word(reading: &Reading<'_, '_>) -> Option<Hover> {
    let used = reading.name()?;
    let range = used.range.start().to_usize()..used.range.end().to_usize();
    let vocabulary = Vocabulary::standard();
    let (code, doc) = match reading.scene.of_use(used) {
        Type::Function(function) => (
            format!("def {}", signature_text(function)),
            described(function),
        ),
        Type::Object(class) => (format!("{}: {}", used.name, class.name), class.doc.clone()),
        Type::ListOf(element) => {
            let Type::Object(class) = *element else {
                return None;
            };
            (
                format!("{}: list[{}]", used.name, class.name),
                String::new(),
            )
        }
        Type::Unknown => {
            let is_own = reading
                .scene
                .names
                .bindings(used.scope, used.name)
                .is_some();
            let class = vocabulary.class(used.name).filter(|_| !is_own)?;
            (format!("class {}", class.name), class.doc.clone())
        }
    };
    Some(Hover { code, doc, range })
}

/// A function as it is declared, without its first word.
pub(super) fn signature_text(function: &Function) -> String {
    let parameters = signature(function, "", parameter_text);
    format!("{}({parameters}) -> {}", function.name, function.returns)
}

pub(super) fn parameter_text(parameter: &Parameter) -> String {
    let text = format!("{}: {}", parameter.name, parameter.annotation);
    match &parameter.default {
        Some(default) => format!("{text} = {default}"),
        None => text,
    }
}

/// The docstring, and whether nixpkgs' driver has the function, too.
pub(super) fn described(function: &Function) -> String {
    match function.availability {
        Availability::Nixpkgs => function.doc.clone(),
        Availability::Extension => format!("{} *Snowglobe extension*", function.doc),
    }
}
