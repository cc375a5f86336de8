//! `junit.xml`: a case for the script as a whole, and one for each subtest.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::failures::explain;
use super::{Colours, sanitise};
use crate::model::event::{Failure, Verdict};

/// A finished subtest.
#[derive(Debug, Clone, PartialEq)]
pub struct SubtestCase {
    pub name: String,
    pub duration_s: f64,
    pub failure: Option<Failure>,
}

/// How the whole ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Whole<'a> {
    pub verdict: Verdict,
    pub duration_s: f64,
    pub failure: Option<&'a Failure>,
}

/// The text of the file. Without a `whole` it says that the run did not finish.
pub fn document(test: &str, subtests: &[SubtestCase], whole: Option<&Whole<'_>>) -> String {
    let mut suite = TestSuite::new(test);
    for subtest in subtests {
        let status = match &subtest.failure {
            None => TestCaseStatus::success(),
            Some(failure) => failed(NonSuccessKind::Failure, failure),
        };
        let mut case = TestCase::new(sanitise(&subtest.name, Colours::Off), status);
        case.set_classname(test);
        case.set_time(duration(subtest.duration_s));
        suite.add_test_case(case);
    }
    let status = match whole {
        None => unsuccessful(
            NonSuccessKind::Error,
            "unfinished",
            "the run did not finish",
        ),
        Some(whole) => status(whole),
    };
    let mut case = TestCase::new("test script", status);
    case.set_classname(test);
    if let Some(whole) = whole {
        case.set_time(duration(whole.duration_s));
    }
    suite.add_test_case(case);
    let mut report = Report::new(test);
    report.add_test_suite(suite);
    report.to_string().unwrap_or_default()
}

fn status(whole: &Whole<'_>) -> TestCaseStatus {
    let nothing = Failure::default();
    let failure = whole.failure.unwrap_or(&nothing);
    match whole.verdict {
        Verdict::Passed => TestCaseStatus::success(),
        Verdict::Failed => failed(NonSuccessKind::Failure, failure),
        Verdict::Error => failed(NonSuccessKind::Error, failure),
        Verdict::Interrupted => unsuccessful(
            NonSuccessKind::Error,
            "interrupted",
            "the run was interrupted",
        ),
        Verdict::SessionClosed => TestCaseStatus::skipped(),
    }
}

/// A case with the whole report in it, as the terminal would show it.
fn failed(kind: NonSuccessKind, failure: &Failure) -> TestCaseStatus {
    let mut status = unsuccessful(kind, &failure.kind, &failure.message);
    let report = sanitise(&explain(failure).join("\n"), Colours::Off);
    status.set_description(report.trim().to_owned());
    status
}

fn unsuccessful(kind: NonSuccessKind, label: &str, message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(label);
    status.set_message(sanitise(message, Colours::Off));
    status
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_run_is_an_error() {
        let text = document("t", &[], None);
        assert!(text.contains("errors=\"1\""), "{text}");
        assert!(text.contains("the run did not finish"), "{text}");
    }

    #[test]
    fn a_failed_subtest_is_a_failure_of_its_own() {
        let subtest = SubtestCase {
            name: "login".to_owned(),
            duration_s: 1.5,
            failure: Some(Failure {
                message: "no <prompt>".to_owned(),
                ..Failure::default()
            }),
        };
        let whole = Whole {
            verdict: Verdict::Passed,
            duration_s: 2.0,
            failure: None,
        };
        let text = document("t", &[subtest], Some(&whole));
        assert!(text.contains("failures=\"1\""), "{text}");
        assert!(text.contains("no &lt;prompt"), "{text}");
    }
}
