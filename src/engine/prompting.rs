//! Whether a script waits for a user.

/// Whether a script waits for a user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Prompting {
    #[default]
    No,
    /// The user is at the terminal of this process.
    AtTerminal,
    /// A user may come, from another process.
    Awaited,
    /// A user has come from another process.
    Attached,
}
