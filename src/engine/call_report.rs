//! Reports calls of the script to machines: from which line, how long, with what result.

use std::time::Instant;

use serde::Deserialize;
use serde_json::Value;

use super::state::EngineState;
use crate::host::{Call, CallError};
use crate::model::event::{Event, round};

/// Longer texts are cut: they are in the consoles, or in files.
const LONGEST_SHOWN: usize = 4000;

/// The place in the script that makes a call.
#[derive(Debug, Deserialize)]
pub(super) struct CallPlace {
    /// Name of the function of the test API that the script called; `None` if the script did not call one.
    pub function: Option<String>,
    /// Line of the script, from 1; `None` if no line of the script makes the call.
    pub line: Option<u32>,
}

/// A call to a machine that is being made.
pub(super) struct CallMade(Option<Made>);

struct Made {
    machine: String,
    method: String,
    arguments: Value,
    line: Option<u32>,
    begin: Instant,
}

impl CallMade {
    /// A call that is made now. `place` looks for where in the script.
    pub fn new(call: &Call, arguments: Value, place: impl FnOnce() -> CallPlace) -> Self {
        Self(call.machine().map(|machine| {
            let place = place();
            Made {
                machine: machine.to_owned(),
                method: place.function.unwrap_or_else(|| call.name().to_owned()),
                arguments,
                line: place.line,
                begin: Instant::now(),
            }
        }))
    }

    /// Emits its end.
    pub fn report(self, state: &EngineState, result: Result<&Value, String>) {
        let Some(made) = self.0 else {
            return;
        };
        let failed = result.is_err();
        let text = match result {
            Ok(Value::Null) => String::new(),
            Ok(Value::String(text)) => cut(text),
            Ok(value) => cut(&value.to_string()),
            Err(reason) => cut(&reason),
        };
        state.emit(Event::CallEnded {
            machine: made.machine,
            method: made.method,
            arguments: made.arguments,
            line: made.line,
            duration_s: round(made.begin.elapsed().as_secs_f64()),
            result: text,
            failed,
        });
    }
}

/// The arguments with their long texts cut, without the operation's name and what is not set.
pub(super) fn shown_arguments(arguments: &Value) -> Value {
    let Value::Object(all) = arguments else {
        return Value::Null;
    };
    let given = all
        .iter()
        .filter(|(name, value)| *name != "operation" && !value.is_null());
    let shown = given.map(|(name, value)| {
        let value = match value {
            Value::String(text) => Value::String(cut(text)),
            other if other.to_string().len() > LONGEST_SHOWN => {
                Value::String(cut(&other.to_string()))
            }
            other => other.clone(),
        };
        (name.clone(), value)
    });
    Value::Object(shown.collect())
}

/// The message of a failed call, and what its command has written.
pub(super) fn reason_of(error: &CallError) -> String {
    let command = error.details.as_ref().and_then(|it| it.command.as_ref());
    let written = command.map_or([""; 2], |command| {
        [command.stdout.trim_end(), command.stderr.trim_end()]
    });
    let parts = [error.message.as_str()].into_iter().chain(written);
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    parts.join("\n")
}

fn cut(text: &str) -> String {
    let (shown, rest) = text.split_at(text.floor_char_boundary(LONGEST_SHOWN));
    if rest.is_empty() {
        return shown.to_owned();
    }
    format!("{shown}… ({} more bytes)", rest.len())
}
