//! Sets up what the built-in guests are made of: Debian packages and npm packages, in the Nix store.
//!
//! May import `nix_cli` and what is below it.

mod apt;
mod fetch;
mod index;
mod npm;
mod pin;
mod suite;
mod tool;

pub use fetch::{FetchRequest, fetch, index_path, is_complete};
pub use index::Index;
pub use pin::pin;
pub use tool::Error;
