//! Subtests: which of them run, what a failure in one means for the others, and their results.

use std::time::Instant;

use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use crate::model::event::{Failure, Subtest, round};

/// Which subtests of a script run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Subtests {
    /// The subtests that run; None for all.
    #[serde(with = "regex_text")]
    pub only: Option<Regex>,
    pub after_failure: AfterFailure,
}

/// Serialises a regular expression as its text.
mod regex_text {
    use regex_lite::Regex;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    #[expect(clippy::ref_option, reason = "serde passes the field")]
    pub(super) fn serialize<S: Serializer>(
        regex: &Option<Regex>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        regex.as_ref().map(Regex::as_str).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Regex>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let regex = text.as_deref().map(Regex::new).transpose();
        regex.map_err(de::Error::custom)
    }
}

/// The continuation after a failed subtest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AfterFailure {
    #[default]
    Stop,
    GoOn,
}

/// The subtests of a script that runs.
#[derive(Debug)]
pub(super) struct SubtestStack {
    pub wanted: Subtests,
    /// Ancestors of the selected subtests.
    entered: Vec<String>,
    open: Vec<OpenSubtest>,
    pub done: Vec<Subtest>,
    /// Failures that the script continued after.
    pub failures: Vec<Failure>,
    /// Subtests that did not run.
    pub skipped: Vec<String>,
    failed: Option<String>,
}

/// How a subtest's statements ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SubtestEnd {
    Passed,
    Failed,
    /// By what ends the script, too.
    EndsScript,
}

#[derive(Debug)]
struct OpenSubtest {
    name: String,
    begin: Instant,
    state: SubtestState,
    /// The first one in it that failed, and that the script went on after.
    failed_inside: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SubtestState {
    Runs,
    /// Only for what is in it.
    Entered,
    Skipped,
}

/// A subtest that has just ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub subtest: Subtest,
    pub goes_on: bool,
    pub failed_inside: Option<String>,
}

impl SubtestStack {
    pub fn new(wanted: Subtests) -> Self {
        Self {
            wanted,
            entered: Vec::new(),
            open: Vec::new(),
            done: Vec::new(),
            failures: Vec::new(),
            skipped: Vec::new(),
            failed: None,
        }
    }

    pub fn enter(&mut self, names: Vec<String>) {
        self.entered = names;
    }

    /// The subtest in which a failure is that happens now, or has just happened.
    pub fn at_failure(&self) -> Option<String> {
        let open = self.open.last().map(|open| open.name.clone());
        open.or_else(|| self.failed.clone())
    }

    /// Begins one; returns whether its statements run.
    pub fn start(&mut self, name: &str) -> bool {
        let inside = self
            .open
            .last()
            .is_some_and(|around| around.state == SubtestState::Runs);
        let matches = |only: &Regex| only.is_match(name);
        let state = if inside || self.wanted.only.as_ref().is_none_or(matches) {
            SubtestState::Runs
        } else if self.entered.iter().any(|entered| entered == name) {
            SubtestState::Entered
        } else {
            SubtestState::Skipped
        };
        self.open.push(OpenSubtest {
            name: name.to_owned(),
            begin: Instant::now(),
            state,
            failed_inside: None,
        });
        state != SubtestState::Skipped
    }

    /// Ends the innermost; one that did not run is no event.
    pub fn finish(&mut self, outcome: SubtestEnd) -> Option<Finished> {
        let open = self.open.pop()?;
        if open.state == SubtestState::Skipped {
            self.skipped.push(open.name);
            return None;
        }
        let goes_on = match outcome {
            SubtestEnd::Passed => true,
            SubtestEnd::Failed => self.wanted.after_failure == AfterFailure::GoOn,
            SubtestEnd::EndsScript => false,
        };
        let passed = outcome == SubtestEnd::Passed && open.failed_inside.is_none();
        if let Some(around) = self.open.last_mut().filter(|_| !passed) {
            around
                .failed_inside
                .get_or_insert_with(|| open.name.clone());
        }
        if !goes_on && self.failed.is_none() {
            self.failed = Some(open.name.clone());
        }
        let subtest = Subtest {
            name: open.name,
            duration_s: round(open.begin.elapsed().as_secs_f64()),
            passed,
        };
        self.done.push(subtest.clone());
        Some(Finished {
            subtest,
            goes_on,
            failed_inside: open.failed_inside,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(pattern: &str) -> SubtestStack {
        let mut running = SubtestStack::new(Subtests {
            only: Some(Regex::new(pattern).unwrap()),
            after_failure: AfterFailure::GoOn,
        });
        running.enter(vec!["outer".to_owned()]);
        running
    }

    #[test]
    fn those_that_match_run_with_what_is_in_them() {
        let mut running = only("^in");
        assert!(running.start("outer"));
        assert!(!running.start("other"));
        assert!(running.finish(SubtestEnd::Passed).is_none());
        assert!(running.start("inner"));
        assert!(running.start("deeper"));
        for _ in 0..3 {
            assert!(running.finish(SubtestEnd::Passed).unwrap().goes_on);
        }
        let names: Vec<&str> = running
            .done
            .iter()
            .map(|subtest| subtest.name.as_str())
            .collect();
        assert_eq!(names, ["deeper", "inner", "outer"]);
    }

    #[test]
    fn a_failure_ends_the_script_or_not() {
        assert!({
            let mut running = only("");
            running.start("a");
            running.finish(SubtestEnd::Failed).unwrap().goes_on
        });
        let mut running = SubtestStack::new(Subtests::default());
        running.start("a");
        assert!(!running.finish(SubtestEnd::Failed).unwrap().goes_on);
        assert_eq!(running.at_failure().as_deref(), Some("a"));
    }
}
