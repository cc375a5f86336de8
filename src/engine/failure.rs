//! From Python's exceptions to what a report needs of them.

use std::sync::Arc;

use rustpython_vm::builtins::{PyBaseExceptionRef, PyTraceback};
use rustpython_vm::{AsObject, PyObjectRef, PyRef, PyResult, VirtualMachine};

use super::assertion_report::{AssertedLine, explain_assertion};
use super::exceptions::is_api_exception;
use super::short_repr::{Extent, short_repr};

use super::sources::Sources;
use super::state::EngineState;
use super::values::to_json;
use crate::event_bus::Events;
use crate::model::event::{Cause, Details, Failure, Frame};
use crate::source_map::SourceMap;

/// How many exceptions back the details of one are looked for.
const DEEPEST: usize = 8;

/// One call of the script or of what was typed, with the bytes of it that were at work.
struct TracedCall {
    source_map: Arc<SourceMap>,
    function: String,
    frame: PyObjectRef,
    range: std::ops::Range<usize>,
    line: usize,
}

impl TracedCall {
    /// Returns the line of the script that ran.
    fn text(&self) -> &str {
        let range = self.range.clone();
        self.source_map.script().get(range).unwrap_or_default()
    }
}

/// Describes what a script raised, with the calls that led there. Long texts are cut, and saved.
pub fn describe(
    vm: &VirtualMachine,
    exception: &PyBaseExceptionRef,
    state: &EngineState,
) -> Failure {
    let host = state.host();
    let events = host.as_ref().map(|host| &host.events);
    let mut failure = describe_whole(vm, exception, &state.sources, events);
    if let Some(events) = events {
        events.bound_failure(&mut failure);
    }
    failure
}

fn describe_whole(
    vm: &VirtualMachine,
    exception: &PyBaseExceptionRef,
    sources: &Sources,
    events: Option<&Events>,
) -> Failure {
    let entries = exception
        .__traceback__()
        .map(|traceback| entries(&traceback, sources))
        .unwrap_or_default();
    let statement = entries
        .last()
        .map(|entry| entry.source_map.excerpt(entry.range.clone()))
        .or_else(|| syntax_error(vm, exception, sources));
    let mut failure = Failure {
        kind: kind(vm, exception),
        message: message(vm, exception, &entries),
        statement,
        causes: causes(vm, exception, sources),
        details: details(vm, exception, DEEPEST).unwrap_or_default(),
        traceback: entries.iter().map(frame).collect(),
        ..Failure::default()
    };
    if let Some(entry) = entries.last() {
        let line = AssertedLine {
            frame: &entry.frame,
            script: entry.source_map.script(),
            text: entry.text(),
            range: entry.range.clone(),
        };
        explain_assertion(vm, exception, &line, events, &mut failure);
    }
    failure
}

fn kind(vm: &VirtualMachine, exception: &PyBaseExceptionRef) -> String {
    // A script may have classes of these names, too.
    let is = |class| is_api_exception(vm, exception, class);
    if is("RetryFailed") {
        return "RequestedAssertionFailed".to_owned();
    }
    if is("Cancelled") {
        return "Deadline".to_owned();
    }
    exception.class().name().to_string()
}

fn entries(traceback: &PyRef<PyTraceback>, sources: &Sources) -> Vec<TracedCall> {
    traceback
        .iter()
        .filter_map(|entry| {
            let code = entry.frame.iframe().code();
            let source_map = sources.find(code.source_path().as_str())?;
            // The instruction's number is in bytes, and each has two.
            let instruction = usize::try_from(entry.lasti).unwrap_or_default() / 2;
            let span = code.locations.get(instruction);
            let line = entry.lineno.get();
            let range = span.map_or_else(
                || source_map.offset(line, 1)..source_map.offset(line + 1, 1),
                |(from, to)| {
                    source_map.offset(from.line.get(), from.character_offset.get())
                        ..source_map.offset(to.line.get(), to.character_offset.get())
                },
            );
            Some(TracedCall {
                source_map,
                function: code.qualname.as_str().to_owned(),
                frame: entry.frame.clone().into(),
                range,
                line,
            })
        })
        .collect()
}

fn frame(entry: &TracedCall) -> Frame {
    let source_map = &entry.source_map;
    let source = source_map
        .script()
        .lines()
        .nth(entry.line.saturating_sub(1));
    let excerpt = source_map.excerpt(entry.range.clone());
    Frame {
        function: entry.function.clone(),
        line: u32::try_from(entry.line).unwrap_or(u32::MAX),
        source: source.unwrap_or_default().trim().to_owned(),
        file_line: excerpt.file.is_some().then_some(excerpt.start.line),
        file: excerpt.file,
    }
}

/// The exception's message, or one that explains an empty message.
fn message(vm: &VirtualMachine, exception: &PyBaseExceptionRef, entries: &[TracedCall]) -> String {
    if is_api_exception(vm, exception, "Cancelled") {
        return "this was going on".to_owned();
    }
    let text = text_of(vm, exception).unwrap_or_default();
    if exception.fast_isinstance(vm.ctx.exceptions.system_exit) {
        return match text.parse::<i64>() {
            Ok(code) => format!("the script ended itself with the exit code {code}"),
            Err(_) => format!("the script ended itself: {text}"),
        };
    }
    match entries.last() {
        Some(entry) if text.is_empty() && kind(vm, exception) == "AssertionError" => {
            format!("this is not true: {}", entry.text())
        }
        _ => text,
    }
}

/// How much of the value that an exception has in the place of a text is shown.
const LONGEST_ARGUMENT: usize = 4000;

/// The exception as `str` gives it; a value in the place of its text is written shortly.
fn text_of(vm: &VirtualMachine, exception: &PyBaseExceptionRef) -> PyResult<String> {
    let arguments = exception.args();
    if let [only] = arguments.as_slice()
        && [
            vm.ctx.types.list_type,
            vm.ctx.types.dict_type,
            vm.ctx.types.tuple_type,
            vm.ctx.types.set_type,
            vm.ctx.types.bytes_type,
        ]
        .iter()
        .any(|kind| only.fast_isinstance(kind))
    {
        return short_repr(vm, only, Extent::short(LONGEST_ARGUMENT));
    }
    let text = exception.as_object().str(vm)?;
    Ok(text.to_string_lossy().into_owned())
}

/// The exceptions that this one came from, as Python would print them.
fn causes(vm: &VirtualMachine, exception: &PyBaseExceptionRef, sources: &Sources) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut current = exception.clone();
    while let Some(cause) = cause(vm, &current).filter(|_| causes.len() < DEEPEST) {
        let entries = cause
            .__traceback__()
            .map(|traceback| entries(&traceback, sources));
        let entries = entries.unwrap_or_default();
        causes.push(Cause {
            kind: kind(vm, &cause),
            message: message(vm, &cause, &entries),
            at: entries.last().map(frame),
        });
        current = cause;
    }
    causes
}

fn cause(vm: &VirtualMachine, exception: &PyBaseExceptionRef) -> Option<PyBaseExceptionRef> {
    let suppressed = exception.as_object().get_attr("__suppress_context__", vm);
    let suppressed = suppressed
        .and_then(|flag| flag.is_true(vm))
        .unwrap_or(false);
    let context = || exception.__context__().filter(|_| !suppressed);
    exception.__cause__().or_else(context)
}

/// Where a compiler's complaint is; the running script has no such place.
fn syntax_error(
    vm: &VirtualMachine,
    exception: &PyBaseExceptionRef,
    sources: &Sources,
) -> Option<crate::model::event::Excerpt> {
    if !exception.fast_isinstance(vm.ctx.exceptions.syntax_error) {
        return None;
    }
    let number = |name: &'static str| {
        let value = exception.as_object().get_attr(name, vm).ok()?;
        usize::try_from(to_json(&value, vm).ok()?.as_u64()?).ok()
    };
    let file = exception.as_object().get_attr("filename", vm).ok()?;
    let source_map = sources.find(&file.str(vm).ok()?.to_string_lossy())?;
    let begin = source_map.offset(number("lineno")?, number("offset")?);
    Some(source_map.excerpt(begin..begin + 1))
}

/// The details of a machine's error, of this exception or of one that it came from.
fn details(vm: &VirtualMachine, exception: &PyBaseExceptionRef, depth: usize) -> Option<Details> {
    let attribute = exception.as_object().get_attr("_details", vm);
    let own = attribute.ok().and_then(|details| {
        let details = to_json(&details, vm).ok()?;
        serde_json::from_value(details).ok()
    });
    if own.is_some() || depth == 0 {
        return own;
    }
    details(vm, &cause(vm, exception)?, depth - 1)
}
