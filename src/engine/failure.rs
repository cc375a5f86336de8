//! From an interpreter's exceptions to what a report needs of them.

use std::ops::Range;
use std::sync::Arc;

use super::assertion_report::explain_assertion;
use super::assertions::{NamesIn, names};
use super::raised::{
    AssertionPlace, ColumnUnit, Explanation, RaisedCall, RaisedException, SyntaxErrorPlace,
};
use super::sources::Sources;
use super::state::EngineState;
use crate::model::event::{Cause, Excerpt, Failure, Frame};
use crate::source_map::SourceMap;

/// A call of the script or of what was typed, with the bytes of it that were at work.
struct TracedCall {
    /// Its number among all calls.
    index: usize,
    source_map: Arc<SourceMap>,
    function: String,
    range: Range<usize>,
    line: usize,
}

impl TracedCall {
    /// Returns the line of the script that ran.
    fn text(&self) -> &str {
        let range = self.range.clone();
        self.source_map.script().get(range).unwrap_or_default()
    }
}

/// Makes the failure of an exception, with the calls that led there. `explain` asks the interpreter for the values of an
/// assertion. Long texts are cut, and saved.
pub(super) fn failure_of(
    exception: &RaisedException,
    unit: ColumnUnit,
    state: &EngineState,
    explain: impl FnOnce(AssertionPlace) -> Option<Explanation>,
) -> Failure {
    let host = state.host();
    let events = host.as_ref().map(|host| &host.events);
    let calls = traced(&exception.calls, unit, &state.sources);
    let statement = calls
        .last()
        .map(|call| call.source_map.excerpt(call.range.clone()))
        .or_else(|| excerpt(exception.syntax_error.as_ref()?, &state.sources));
    let cause = |cause: &RaisedException| {
        let calls = traced(&cause.calls, unit, &state.sources);
        Cause {
            kind: kind(cause),
            message: message(cause, &calls),
            at: calls.last().map(frame),
        }
    };
    let all = [exception].into_iter().chain(&exception.causes);
    let mut details = all.filter_map(|one| serde_json::from_value(one.details.clone()).ok()?);
    let mut failure = Failure {
        kind: kind(exception),
        message: message(exception, &calls),
        statement,
        causes: exception.causes.iter().map(cause).collect(),
        details: details.next().unwrap_or_default(),
        traceback: calls.iter().map(frame).collect(),
        ..Failure::default()
    };
    if let Some(call) = calls.last()
        && let Some(place) = assertion_place(exception, call)
        && let Some(explanation) = explain(place)
    {
        explain_assertion(explanation, call.source_map.script(), events, &mut failure);
    }
    if let Some(events) = events {
        events.bound_failure(&mut failure);
    }
    failure
}

fn traced(calls: &[RaisedCall], unit: ColumnUnit, sources: &Sources) -> Vec<TracedCall> {
    let traced = calls.iter().enumerate().filter_map(|(index, call)| {
        let source_map = sources.find(&call.file)?;
        let offset = |line: usize, column: usize| match unit {
            ColumnUnit::Character => source_map.offset(line, column + 1),
            ColumnUnit::Byte => source_map.offset(line, 1) + column,
        };
        let range = match call.span {
            None => offset(call.line, 0)..offset(call.line + 1, 0),
            Some([line, last_line, column, end]) => offset(line, column)..offset(last_line, end),
        };
        Some(TracedCall {
            index,
            function: call.function.clone(),
            range,
            line: call.line,
            source_map,
        })
    });
    traced.collect()
}

/// The assertion that has failed in a call. Errors of the test API are assertions, too.
fn assertion_place(exception: &RaisedException, call: &TracedCall) -> Option<AssertionPlace> {
    let names_in = |parts| {
        let text = exception.is_plain_assertion.then(|| call.text());
        text.map_or_else(Vec::new, |text| names(text, parts))
    };
    let is_assertion =
        exception.is_plain_assertion || is_api_class(exception, "RequestedAssertionFailed");
    is_assertion.then(|| AssertionPlace {
        call: call.index,
        begin: call.range.start,
        end: call.range.end,
        names: names_in(NamesIn::Expression),
        scoped_names: names_in(NamesIn::Scopes),
    })
}

pub(super) fn is_api_class(exception: &RaisedException, class: &str) -> bool {
    exception.api_classes.iter().any(|name| name == class)
}

fn kind(exception: &RaisedException) -> String {
    if is_api_class(exception, "RetryFailed") {
        return "RequestedAssertionFailed".to_owned();
    }
    if is_api_class(exception, "Cancelled") {
        return "Deadline".to_owned();
    }
    exception.name.clone()
}

fn frame(call: &TracedCall) -> Frame {
    let source_map = &call.source_map;
    let source = source_map.script().lines().nth(call.line.saturating_sub(1));
    let excerpt = source_map.excerpt(call.range.clone());
    Frame {
        function: call.function.clone(),
        line: u32::try_from(call.line).unwrap_or(u32::MAX),
        source: source.unwrap_or_default().trim().to_owned(),
        file_line: excerpt.file.is_some().then_some(excerpt.start.line),
        file: excerpt.file,
    }
}

/// The exception's message, or one that explains an empty message.
fn message(exception: &RaisedException, calls: &[TracedCall]) -> String {
    if is_api_class(exception, "Cancelled") {
        return "this was going on".to_owned();
    }
    let text = exception.text.clone();
    if exception.is_exit {
        return match text.parse::<i64>() {
            Ok(code) => format!("the script ended itself with the exit code {code}"),
            Err(_) => format!("the script ended itself: {text}"),
        };
    }
    match calls.last() {
        Some(call) if text.is_empty() && kind(exception) == "AssertionError" => {
            format!("this is not true: {}", call.text())
        }
        _ => text,
    }
}

/// The text where a compiler's complaint is; the running script has no such place.
fn excerpt(place: &SyntaxErrorPlace, sources: &Sources) -> Option<Excerpt> {
    let source_map = sources.find(&place.file)?;
    let begin = source_map.offset(place.line, place.column);
    Some(source_map.excerpt(begin..begin + 1))
}
