//! The signature of the call at a position.

use std::ops::Range;

use super::WrittenScript;
use super::hover::{described, parameter_text, signature_text};
use super::reading::read_at;

/// The signature of a call that is being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    pub text: String,
    pub doc: String,
    /// The bytes of each parameter in the text.
    pub parameters: Vec<Range<usize>>,
    /// The parameter that the argument at the position is for.
    pub active: Option<usize>,
}

/// Returns the signature of the innermost call around a position; `None` if the test API does not have its function.
#[must_use]
pub fn signature_at(script: WrittenScript<'_>, offset: usize) -> Option<Signature> {
    read_at(script, offset, |reading| {
        let call = reading.call()?;
        let text = signature_text(call.function);
        let mut end = call.function.name.len();
        let mut parameters = Vec::new();
        for parameter in &call.function.parameters {
            let part = parameter_text(parameter);
            let begin = end + text[end..].find(&part)?;
            end = begin + part.len();
            parameters.push(begin..end);
        }
        Some(Signature {
            doc: described(call.function),
            active: reading.parameter(&call),
            text,
            parameters,
        })
    })
}
