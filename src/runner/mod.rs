//! Runs tests: evaluates and checks them, builds, runs, verifies; and again when files change.
//!
//! Values in, events out: it knows no command line and prints nothing.

mod administrator;
mod apart;
mod attached_prompt;
mod attempts;
mod build;
mod built;
mod container_shell;
mod doctor;
mod error;
mod evaluation;
mod files;
mod find_tests;
mod findings;
mod found_test;
mod free_memory;
mod frontend;
mod interactive;
mod interrupts;
mod nix_settings;
mod project;
mod reports;
mod request;
mod run;
mod running_machine;
mod schedule;
mod script_check;
mod script_process;
mod survey;
mod test_run;
mod type_check;
mod watch;

pub use administrator::administrator_request;
pub use apart::{TEST_PROCESS, run_test_process};
pub use attached_prompt::{AttachEnd, attach_prompt};
pub use attempts::{AttemptRule, RepeatAfterFailure, Repetition};
pub use build::build;
pub use built::{BuiltTest, run_built};
pub use doctor::{HostPart, Need, PartState, examine_host, is_unfit};
pub use error::RunnerError;
pub use find_tests::{ListedTests, list};
pub use findings::show_finding;
pub use frontend::Frontend;
pub use interactive::{DebugPlace, InteractiveSession, OtherMachines, run_session};
pub use interrupts::{Interrupts, interrupts};
pub use project::{Candidate, Project};
pub use reports::{show_results, wait_until_shown};
pub use request::{
    Builders, Confirmation, EvalLimits, JobCount, OutputLocation, Resources, RunPlace, RunRequest,
    ScriptCheck, TestSelection, Verification, file_itself,
};
pub use run::run;
pub use running_machine::{RunningMachine, find_running, running_machines};
pub use type_check::{MISSING_TYPE_CHECK, TypeCheck, check_script};
pub use watch::watch;
