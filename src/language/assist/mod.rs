//! Help for a script that is being written: completions, descriptions and signatures at a position.
//!
//! The text may be broken at the position. It is read as it would be if the word, the call or the string there were
//! complete.

mod completion;
mod gaps;
mod hover;
mod reading;
mod signature;

use std::collections::BTreeMap;

pub use completion::{Completion, CompletionKind, completions};
pub use gaps::check_around;
pub use hover::{Hover, hover, machine_at};
pub use signature::{Signature, signature_at};

use super::check::TestContext;

/// A script that is being written, and what is known of its test.
#[derive(Debug, Clone, Copy)]
pub struct WrittenScript<'a> {
    pub text: &'a str,
    pub context: &'a TestContext,
    /// The systemd units of machines, by the machines' names in the script.
    pub units: &'a BTreeMap<String, Vec<String>>,
}

#[cfg(test)]
mod tests;
