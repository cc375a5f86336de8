//! Snowglobe runs NixOS integration tests: it evaluates their machines, boots
//! them under QEMU on private networks, and runs the test's script against
//! them. See `docs/src/architecture.md` for the way data flows.

pub mod agent;
mod async_file;
pub mod backend;
pub mod backends;
mod bounded_file;
pub mod checkpoint;
mod child;
pub mod cli;
pub mod compat;
mod config;
mod confined;
pub mod container;
mod decoder;
mod digest;
pub mod engine;
pub mod event_bus;
pub mod filter;
mod folders;
mod full_disk;
pub mod guest;
mod history;
pub mod host;
pub mod input_file;
pub mod language;
pub mod lsp;
pub mod machine;
pub mod model;
pub mod network;
pub mod nix_cli;
pub mod ocr;
mod output_folder;
mod passed_files;
mod prompt_output;
pub mod qemu;
mod raw_terminal;
pub mod repl;
pub mod replay;
pub mod report;
pub mod runner;
#[cfg(test)]
mod schemas;
mod script_modules;
pub mod session;
pub mod source_map;
mod suggestion;
