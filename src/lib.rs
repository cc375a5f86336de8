//! Snowglobe runs NixOS integration tests: it evaluates their machines, boots
//! them under QEMU on private networks, and runs the test's script against
//! them. See `docs/src/architecture.md` for the way data flows.

pub mod checkpoint;
mod child;
pub mod cli;
mod confined;
mod digest;
pub mod event;
mod folders;
pub mod guest;
pub mod language;
pub mod machine;
pub mod manifest;
pub mod network;
pub mod nix_cli;
pub mod ocr;
mod output_folder;
pub mod qemu;
pub mod report;
#[cfg(test)]
mod schemas;
pub mod script;
pub mod session;
pub mod source_map;
