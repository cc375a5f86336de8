//! The prompt in the middle of a test.

mod prompt;
mod remote;

pub use prompt::{Prompt, converse};
pub use remote::{AttachedUser, NamesReply, NamesRequest, RemotePrompt};
