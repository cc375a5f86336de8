//! Displays of several tests that run side by side.

mod plain;
mod summary;
mod terminal;
mod texts;

pub use plain::ManyPlain;
pub use terminal::ManyTerminal;
