//! Reports calls of the script to machines: from which line, how long, with what result.

use std::time::Instant;

use rustpython_vm::VirtualMachine;
use serde_json::Value;

use super::sources::SCRIPT_NAME;
use super::state::EngineState;
use crate::host::{Call, CallError};
use crate::model::event::{Event, round};

/// Start of the names that tracebacks give the modules of the test API.
const API_PATH: &str = "snowglobe";

/// Longer texts are cut: they are in the consoles, or in files.
const LONGEST_SHOWN: usize = 4000;

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
    /// The call that the interpreter makes now.
    pub fn new(call: &Call, arguments: Value, vm: &VirtualMachine) -> Self {
        Self(call.machine().map(|machine| {
            let caller = Caller::find(vm);
            Made {
                machine: machine.to_owned(),
                method: caller.function.unwrap_or_else(|| call.name().to_owned()),
                arguments,
                line: caller.line,
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

/// The place in the script that makes a call.
struct Caller {
    /// Name of the function of the test API that the script called; `None` if the script did not call one.
    function: Option<String>,
    /// Line of the script, from 1; `None` if no line of the script makes the call.
    line: Option<u32>,
}

impl Caller {
    /// Finds the caller among the frames of this thread, from the innermost to the script.
    fn find(vm: &VirtualMachine) -> Self {
        let mut function = None;
        let mut next = vm.current_frame();
        while let Some(frame) = next {
            let code = frame.iframe().code();
            let path = code.source_path().as_str();
            if path == SCRIPT_NAME {
                // Also of a frame that has gone on since it was first looked at.
                let line = u32::try_from(frame.lineno()).ok();
                return Self { function, line };
            }
            if path.starts_with(API_PATH) {
                function = Some(code.obj_name.to_string());
            }
            next = frame.f_back(vm);
        }
        Self {
            function,
            line: None,
        }
    }
}
