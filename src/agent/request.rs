//! A request to the guest's shell, and its outcome.

use std::time::Duration;

use tokio::sync::oneshot;

use super::error::ShellError;

/// The status of an answer that says: not yet.
pub const NOT_YET: i32 = 75;

/// The result of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandOutcome {
    /// None if it was not asked for.
    pub status: Option<i32>,
    pub output: Vec<u8>,
}

/// The part of a command's result that the caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The guest's shell starts anew; nothing is sent.
    Greeting,
    Nothing,
    /// The shell answers, and nothing is left of earlier commands; none is sent.
    Rest,
    /// The command's characters are bytes to be sent as they are.
    Raw,
    /// The next line that the shell writes, as it is; nothing is sent.
    Line,
    Output,
    OutputAndStatus,
    /// The command itself writes a line, a status and an output in base64, to
    /// the file that it is given as an argument more. This comes sooner than
    /// what is read to its end. Where others want the shell and
    /// [`Shell::yields`](super::Shell::yields), the command is ended after a while, and the status
    /// is [`NOT_YET`].
    Answer,
}

pub(super) struct ShellRequest {
    pub command: String,
    pub expect: Expect,
    /// From when the shell is free for it.
    pub limit: Option<Duration>,
    pub reply: oneshot::Sender<Result<CommandOutcome, ShellError>>,
}
