//! Displays of several tests that run side by side.

mod plain;
mod summary;
mod terminal;
mod texts;

pub use plain::ManyPlain;
pub(super) use summary::counts;
pub use terminal::ManyTerminal;
