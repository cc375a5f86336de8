//! Runs the script of a test in a process of its own: tests that run side by side share no Python, no folder and no
//! crash.

mod child;
mod parent;
mod plan;

pub use child::{TEST_PROCESS, run_planned_test};
pub(super) use parent::{ApartEnd, run_apart};
pub(super) use plan::TestPlan;
