//! Runs tests: evaluates and checks them, builds, runs, verifies; and again when files change.
//!
//! Values in, events out: it knows no command line and prints nothing.

mod apart;
mod attempts;
mod build;
mod built;
mod derivation;
mod doctor;
mod ends;
mod error;
mod evaluation;
mod files;
mod findings;
mod free_memory;
mod frontend;
mod interactive;
mod interrupts;
mod many;
mod nix_settings;
mod only_report;
mod plan;
mod planned;
mod project;
mod reporting;
mod request;
mod run;
mod run_reports;
mod running;
mod schedule;
mod script_check;
mod survey;
mod test_run;
mod tries;
mod type_check;
mod watch;

pub use apart::{TEST_PROCESS, run_planned_test};
pub use attempts::{AttemptRule, RepeatAfterFailure, Repetition};
pub use build::build;
pub use built::{BuiltTest, run_built};
pub use doctor::{HostPart, Need, PartState, examine_host, is_unfit};
pub use error::RunnerError;
pub use findings::show_finding;
pub use frontend::Frontend;
pub use interactive::{InteractiveSession, OtherMachines, run_session};
pub use interrupts::{Interrupts, interrupts};
pub use plan::{ListedTests, list};
pub use project::Project;
pub use reporting::{show_results, wait_until_shown};
pub use request::{
    Builders, EvalLimits, JobCount, OutputLocation, Resources, RunPlace, RunRequest, ScriptCheck,
    TestSelection, TestSettings, TimeoutFactor, Verification,
};
pub use run::run;
pub use running::{find_running, shell_in};
pub use type_check::{MISSING_TYPE_CHECK, TypeCheck, check_script};
pub use watch::watch;
