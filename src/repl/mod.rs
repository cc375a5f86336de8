//! The prompt in the middle of a test.

mod prompt;

pub use prompt::Prompt;
