//! The messages between Snowglobe and a CPython: one line of JSON each.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::engine::call_report::CallPlace;
use crate::engine::raised::{AssertionPlace, Explanation, RaisedException};
use crate::host::CallError;
use crate::model::event::Failure;

/// A request of the CPython; each has a reply.
#[derive(Debug, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub(super) enum Request {
    /// For the script, and the modules that run it.
    Begin,
    /// From now on this connection is for interrupts.
    Control,
    Call {
        target: String,
        operation: String,
        arguments: Value,
        is_beside: bool,
        place: CallPlace,
    },
    Write {
        text: String,
    },
    Describe {
        raised: Box<RaisedException>,
    },
    /// The script fails, although it goes on.
    Fail {
        raised: Box<RaisedException>,
    },
    TextDifference {
        left: String,
        right: String,
    },
    FindModule {
        name: String,
        folders: Option<Vec<PathBuf>>,
    },
    ReadModule {
        file: String,
    },
    /// A breakpoint; prompt messages follow.
    StopAt {
        file: String,
        line: usize,
    },
    /// The script has come to its end; prompt messages follow.
    Passed,
    /// The script has ended by an exception; prompt messages follow.
    Raised {
        raised: Box<RaisedException>,
    },
}

/// A question about the names of a script, or a text to run among them.
#[derive(Debug, Serialize)]
#[serde(tag = "prompt", rename_all = "snake_case")]
pub(super) enum PromptRequest<'a> {
    IsWhole { text: &'a str },
    NamesAfter { path: &'a [&'a str] },
    Run { text: &'a str, name: &'a str },
    Leave,
}

/// The result of a text that was typed.
#[derive(Debug, Deserialize)]
#[serde(tag = "typed", rename_all = "snake_case")]
pub(super) enum Typed {
    Done,
    Leave,
    Raised { raised: Box<RaisedException> },
}

/// A value as the reply to a question, or to a call.
#[derive(Debug, Deserialize)]
pub(super) struct Answer<T> {
    pub value: T,
}

#[derive(Debug, Deserialize)]
pub(super) struct Explained {
    pub explanation: Option<Explanation>,
}

/// Whether an interrupt has reached the script.
#[derive(Debug, Deserialize)]
pub(super) struct Interrupted {
    pub taken: bool,
}

pub(super) fn value(value: impl Into<Value>) -> Value {
    json!({ "value": value.into() })
}

pub(super) fn error(error: &CallError) -> Value {
    let CallError {
        class,
        message,
        details,
    } = error;
    json!({ "error": { "class": class, "message": message, "details": details } })
}

pub(super) fn failure(failure: &Failure) -> Value {
    json!({ "failure": failure })
}

pub(super) fn explain(place: &AssertionPlace) -> Value {
    json!({ "explain": place })
}

pub(super) fn interrupt(reason: &str) -> Value {
    json!({ "interrupt": reason })
}
