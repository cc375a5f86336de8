//! The terminal's settings from before a user worked at it.

use std::sync::OnceLock;

use rustix::termios::{self, OptionalActions, Termios};

/// How the terminal was before there was a prompt.
static TERMINAL: OnceLock<Termios> = OnceLock::new();

/// Saves the settings of the terminal before a session changes them.
pub fn remember_terminal() {
    if let Ok(before) = termios::tcgetattr(std::io::stdin()) {
        let _ = TERMINAL.set(before);
    }
}

/// Gives the terminal back as it was, where a prompt was left as it stood.
pub fn restore_terminal() {
    if let Some(before) = TERMINAL.get() {
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, before);
    }
}
