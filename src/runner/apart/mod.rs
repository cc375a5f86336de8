//! Runs the script of a test in a process of its own: tests that run side by side share no Python, no folder and no
//! crash.

mod child;
mod messages;
mod parent;

pub use child::{TEST_PROCESS, run_test_process};
pub(super) use parent::{RunEnd, run_apart};
