//! An exception as an interpreter describes it: the data of `raised.py`, in the test API.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An exception, with the calls that led there.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RaisedException {
    /// The name of its class.
    pub name: String,
    /// The classes of the test API that it belongs to.
    pub api_classes: Vec<String>,
    /// Whether it is an `AssertionError`, and of no class that is one, too.
    pub is_plain_assertion: bool,
    /// Whether the script ended itself.
    pub is_exit: bool,
    pub text: String,
    pub syntax_error: Option<SyntaxErrorPlace>,
    /// The details of a machine's error.
    pub details: Value,
    /// The outermost first.
    pub calls: Vec<RaisedCall>,
    /// The exceptions that it came from, the nearest first. Those have none.
    #[serde(default)]
    pub causes: Vec<RaisedException>,
}

/// The place of a compiler's complaint: a line and a column, from 1.
#[derive(Debug, Deserialize)]
pub(super) struct SyntaxErrorPlace {
    pub file: String,
    pub line: usize,
    pub column: usize,
}

/// A call that led to an exception.
#[derive(Debug, Deserialize)]
pub(super) struct RaisedCall {
    pub file: String,
    pub function: String,
    /// From 1.
    pub line: usize,
    /// The expression at work: its first line and its last, from 1, and their columns, from 0.
    pub span: Option<[usize; 4]>,
}

/// The unit of an interpreter's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnUnit {
    Character,
    Byte,
}

/// The assertion that has failed, to be explained.
#[derive(Debug, Serialize)]
pub(super) struct AssertionPlace {
    /// Which of the exception's calls it is in.
    pub call: usize,
    /// Its place in the script, in bytes.
    pub begin: usize,
    pub end: usize,
    /// The names of its variables; none if only its expressions are wanted.
    pub names: Vec<String>,
    /// The names in its parts whose values are not remembered.
    pub scoped_names: Vec<String>,
}

/// The values of a failed assertion.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Explanation {
    pub expressions: Vec<ExpressionValue>,
    pub variables: Vec<VariableValue>,
    /// How both sides of its `==` differ.
    pub difference: String,
}

/// The value of an expression at these bytes of the script.
#[derive(Debug, Deserialize)]
pub(super) struct ExpressionValue {
    pub begin: usize,
    pub end: usize,
    pub value: Option<WrittenValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct VariableValue {
    pub name: String,
    pub value: Option<WrittenValue>,
}

/// A value as a report shows it.
#[derive(Debug, Deserialize)]
pub(super) struct WrittenValue {
    pub short: String,
    /// The whole value, if that is more.
    pub whole: Option<String>,
}
