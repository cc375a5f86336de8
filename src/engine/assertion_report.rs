//! The values of a failed assertion, for its report.

use std::collections::HashSet;
use std::fmt::Write;
use std::ops::Range;

use rustpython_vm::builtins::PyBaseExceptionRef;
use rustpython_vm::{AsObject, PyObjectRef, PyResult, VirtualMachine};

use super::assertions::{NamesIn, names};
use super::exceptions::is_api_exception;
use super::short_repr::{Extent, short_repr};
use crate::event_bus::Events;
use crate::model::event::Failure;

/// How many values of an assertion are shown, and how much of each and of its expression, in characters.
const MOST_VALUES: usize = 12;
const LONGEST_VALUE: usize = 200;
const LONGEST_EXPRESSION: usize = 80;

/// The left and the right side of `==`, as rewritten assertions number them; and those that are written there.
const LEFT: u32 = 1;
const RIGHT: u32 = 2;
const LEFT_CONSTANT: u32 = 3;
const RIGHT_CONSTANT: u32 = 4;

/// The module that remembers the values.
const MODULE: &str = "snowglobe.assertion_values";

/// The place of an assertion that has failed.
pub(super) struct AssertedLine<'a> {
    pub frame: &'a PyObjectRef,
    pub script: &'a str,
    /// The expression, or the call of `t.assert…`.
    pub text: &'a str,
    /// Its place in the script, in bytes.
    pub range: Range<usize>,
}

/// An expression of an assertion with its value.
struct Seen {
    begin: usize,
    end: usize,
    part: u32,
    value: PyObjectRef,
}

/// Adds the values of a failed assertion to its report. Values that are too long for it are saved in a file.
pub(super) fn explain_assertion(
    vm: &VirtualMachine,
    exception: &PyBaseExceptionRef,
    line: &AssertedLine<'_>,
    events: Option<&Events>,
    failure: &mut Failure,
) {
    // Errors of the test API are assertions, too.
    let is_assertion = exception.class().is(vm.ctx.exceptions.assertion_error);
    if !is_assertion && !is_api_exception(vm, exception, "RequestedAssertionFailed") {
        return;
    }
    let mut seen = seen_values(vm, line.frame).unwrap_or_default();
    // An earlier assertion of the frame may have failed, and the script gone on.
    seen.retain(|it| line.range.start <= it.begin && it.end <= line.range.end);
    let mut values = Values::default();
    let computed = seen.iter().filter(|it| it.part <= RIGHT);
    let mut by_place: Vec<&Seen> = computed.collect();
    // The outer ones first.
    by_place.sort_by_key(|it| (it.begin, std::cmp::Reverse(it.end)));
    for it in by_place {
        let text = line.script.get(it.begin..it.end).unwrap_or_default();
        values.add(vm, text, &it.value);
    }
    if is_assertion {
        // What is typed at a prompt remembers no values.
        let parts = match seen.as_slice() {
            [] => NamesIn::Expression,
            _ => NamesIn::Scopes,
        };
        for name in names(line.text, parts) {
            if let Some(value) = variable(vm, line.frame, &name) {
                values.add(vm, &name, &value);
            }
        }
        failure.difference = difference(vm, &seen).unwrap_or_default();
    }
    failure.variables = values.shown;
    if let (Some(events), false) = (events, values.whole.is_empty()) {
        failure
            .files
            .extend(events.keep("assertion", "txt", &values.whole));
    }
}

/// The values to show.
#[derive(Default)]
struct Values {
    known: HashSet<String>,
    shown: Vec<(String, String)>,
    /// The values that are too long to be shown, whole.
    whole: String,
}

impl Values {
    fn add(&mut self, vm: &VirtualMachine, expression: &str, value: &PyObjectRef) {
        let words: Vec<&str> = expression.split_whitespace().collect();
        let mut name = words.join(" ");
        if self.shown.len() == MOST_VALUES || !self.known.insert(name.clone()) {
            return;
        }
        let write = |extent| {
            let text = vm.with_recursion("while writing a value", || short_repr(vm, value, extent));
            // Functions, modules, machines and the like have no value to show.
            text.ok().filter(|text| !text.starts_with('<'))
        };
        let Some(short) = write(Extent::short(LONGEST_VALUE)).filter(|text| *text != name) else {
            return;
        };
        if let Some(whole) = write(Extent::whole()).filter(|whole| *whole != short) {
            let _ = writeln!(self.whole, "{name} = {whole}");
        }
        if let Some((end, _)) = name.char_indices().nth(LONGEST_EXPRESSION) {
            name.truncate(end);
            name.push('…');
        }
        self.shown.push((name, short));
    }
}

fn seen_values(vm: &VirtualMachine, frame: &PyObjectRef) -> PyResult<Vec<Seen>> {
    let values = function(vm, "values_of")?.call((frame.clone(),), vm)?;
    vm.extract_elements_with(&values, |item| {
        let number =
            |index: usize| -> PyResult<usize> { item.get_item(&index, vm)?.try_into_value(vm) };
        Ok(Seen {
            begin: number(0)?,
            end: number(1)?,
            part: u32::try_from(number(2)?).unwrap_or_default(),
            value: item.get_item(&3, vm)?,
        })
    })
}

/// Describes the difference of both sides of the `==` that was compared last.
fn difference(vm: &VirtualMachine, seen: &[Seen]) -> Option<String> {
    let place = seen
        .iter()
        .rposition(|it| [RIGHT, RIGHT_CONSTANT].contains(&it.part))?;
    let left = seen[..place]
        .iter()
        .rfind(|it| [LEFT, LEFT_CONSTANT].contains(&it.part))?;
    let (left, right) = (left.value.clone(), seen[place].value.clone());
    let text = function(vm, "difference")
        .ok()?
        .call((left, right), vm)
        .ok()?;
    Some(text.str(vm).ok()?.to_string_lossy().into_owned())
}

fn function(vm: &VirtualMachine, name: &'static str) -> PyResult {
    let module = vm
        .sys_module
        .get_attr("modules", vm)?
        .get_item(MODULE, vm)?;
    module.get_attr(name, vm)
}

/// Returns the value of a variable in a frame.
fn variable(vm: &VirtualMachine, frame: &PyObjectRef, name: &str) -> Option<PyObjectRef> {
    let look = |space: &'static str| -> PyResult { frame.get_attr(space, vm)?.get_item(name, vm) };
    look("f_locals").or_else(|_| look("f_globals")).ok()
}
