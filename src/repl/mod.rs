//! The prompt in the middle of a test, and what prints above it.
//!
//! May import `engine` and what is below it.

mod above;
mod prompt;

pub use above::Above;
pub use prompt::Prompt;
