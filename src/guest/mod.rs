//! Sets up what guests are made of, in the Nix store: Debian packages and npm packages for the built-in ones,
//! Debian packages for NixOS machines.

mod apt;
mod archive;
mod data_files;
mod debian_index;
mod fetch;
mod fetch_for;
mod foreign;
mod index;
mod npm;
mod older;
mod package;
mod pin;
mod store;
mod suite;
mod tool;
mod unknown;

pub use debian_index::debian_packages;
pub use fetch::{FetchRequest, fetch, index_path, is_complete};
pub use fetch_for::{FetchedForTests, fetch_for, missing_packages};
pub use index::Index;
pub use older::OlderPackage;
pub use pin::pin;
pub use suite::is_suite;
pub use tool::Error;
pub use unknown::{UnknownPackage, describe_unknown};
