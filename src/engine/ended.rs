//! The end of a script.

use crate::model::event::Failure;

/// How a script ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    Passed,
    /// A prompt ran instead, and was closed.
    SessionClosed,
    Failed(Box<Failure>),
    /// By an interrupt from outside, at this place in the script.
    Interrupted(Box<Failure>),
}
