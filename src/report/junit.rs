//! `junit.xml`: a case for the script as a whole, and one for each subtest.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestRerun, TestSuite};

use super::failures::report_of;
use super::recorded::{RecordedTest, SubtestCase, Timeline};
use super::sanitise::plain;
use crate::model::event::{Failure, Verdict};
use crate::model::outcome::{Attempt, Outcome, RunResults, TestResult};

/// How the whole ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Whole<'a> {
    pub verdict: Verdict,
    pub duration_s: f64,
    pub failure: Option<&'a Failure>,
    /// The faults that the script asked for, as lines; `None` if it asked for none.
    pub faults: Option<String>,
}

/// The text of the file. Without a `whole` it says that the run did not finish.
pub fn document(test: &str, subtests: &[SubtestCase], whole: Option<&Whole<'_>>) -> String {
    let mut report = Report::new(plain(test));
    report.add_test_suite(suite(test, subtests, whole));
    report.to_string().unwrap_or_default()
}

/// The text for a run of several tests: a suite for each.
pub fn of_run(results: &RunResults, suites: Vec<TestSuite>) -> String {
    let mut report = Report::new("snowglobe");
    report.set_time(duration(results.duration_s));
    report.add_test_suites(suites);
    for reason in &results.missing {
        let mut suite = TestSuite::new("a part that is missing");
        let status = unsuccessful(NonSuccessKind::Error, "missing", reason);
        suite.add_test_case(TestCase::new(first_line(reason), status));
        report.add_test_suite(suite);
    }
    report.to_string().unwrap_or_default()
}

/// Returns the suite of a test.
pub fn suite_of(test: &TestResult, recorded: &RecordedTest) -> TestSuite {
    // The outcome of repeated attempts is not that of the last one.
    let decides = |attempt: &&Attempt| Outcome::of_verdict(attempt.verdict) == test.outcome;
    let deciding = test.attempts.iter().find(decides);
    let Some(attempt) = deciding.or(test.attempts.last()) else {
        return suite_without_run(test);
    };
    let nothing = Timeline::default();
    let timeline = recorded
        .attempt(attempt)
        .map_or(&nothing, |recorded| &recorded.timeline);
    let whole = timeline.verdict.map(|verdict| Whole {
        verdict,
        duration_s: timeline.duration_s,
        failure: timeline.failures.last(),
        faults: timeline.faults.text(),
    });
    let mut cases = suite(&test.label, &timeline.cases.all, whole.as_ref()).test_cases;
    for case in &mut cases {
        if test.outcome == Outcome::Flaky {
            add_earlier(case, recorded, test);
        }
        if let Some(quarantine) = &test.quarantine {
            excuse(case, &quarantine.reason);
        }
    }
    cases.extend(further_attempt(test));
    // The suite counts them as they are added.
    let mut suite = TestSuite::new(plain(&test.label));
    suite.set_time(duration(test.duration_s));
    suite.add_test_cases(cases);
    suite
}

/// Returns the reason why a test was not tried again.
fn further_attempt(test: &TestResult) -> Option<TestCase> {
    let message = test.message.as_ref()?;
    let status = unsuccessful(NonSuccessKind::Error, test.outcome.name(), message);
    let mut case = TestCase::new("a further attempt", status);
    case.set_classname(plain(&test.label));
    if let Some(quarantine) = &test.quarantine {
        excuse(&mut case, &quarantine.reason);
    }
    Some(case)
}

/// The suite of a test without an attempt.
fn suite_without_run(test: &TestResult) -> TestSuite {
    let mut suite = TestSuite::new(plain(&test.label));
    let status = match &test.message {
        Some(message) => unsuccessful(NonSuccessKind::Error, test.outcome.name(), message),
        None => TestCaseStatus::skipped(),
    };
    let mut case = TestCase::new(WHOLE, status);
    case.set_classname(plain(&test.label));
    if let Some(quarantine) = &test.quarantine {
        excuse(&mut case, &quarantine.reason);
    }
    suite.add_test_case(case);
    suite
}

/// Adds the attempts that failed before the one that passed.
fn add_earlier(case: &mut TestCase, recorded: &RecordedTest, test: &TestResult) {
    let (Some((_, earlier)), true) = (test.attempts.split_last(), case.name.as_str() == WHOLE)
    else {
        return;
    };
    for attempt in earlier {
        let recorded = recorded.attempt(attempt);
        let failure = recorded.and_then(|recorded| recorded.timeline.failures.last());
        let failure = failure.cloned().unwrap_or_default();
        let mut rerun = TestRerun::new(NonSuccessKind::Failure);
        rerun.set_type(plain(&failure.kind));
        rerun.set_message(first_line(&failure.message));
        rerun.set_description(report_of(&failure));
        rerun.set_time(duration(attempt.duration_s));
        case.status.add_rerun(rerun);
    }
}

/// A failure in quarantine is no failure of the run.
fn excuse(case: &mut TestCase, reason: &str) {
    let TestCaseStatus::NonSuccess { description, .. } = &case.status else {
        return;
    };
    let description = description.clone();
    let mut status = TestCaseStatus::skipped();
    status.set_message(plain(&format!("in quarantine: {reason}")));
    if let Some(description) = description {
        status.set_description(description.as_str());
    }
    case.status = status;
}

/// The case for the script as a whole.
const WHOLE: &str = "test script";

fn suite(test: &str, subtests: &[SubtestCase], whole: Option<&Whole<'_>>) -> TestSuite {
    let test = plain(test);
    let mut suite = TestSuite::new(&test);
    let mut rest_s = whole.map_or(0.0, |whole| whole.duration_s);
    suite.set_time(duration(rest_s));
    for subtest in subtests {
        let status = match &subtest.failure {
            None => TestCaseStatus::success(),
            Some(failure) => failed(NonSuccessKind::Failure, failure),
        };
        let mut case = TestCase::new(plain(&subtest.name), status);
        case.set_classname(&test);
        case.set_time(duration(subtest.own_s));
        suite.add_test_case(case);
        rest_s -= subtest.own_s;
    }
    let status = match whole {
        None => unsuccessful(
            NonSuccessKind::Error,
            "unfinished",
            "the run did not finish",
        ),
        Some(whole) => status(whole, subtests),
    };
    let mut case = TestCase::new(WHOLE, status);
    case.set_classname(&test);
    if let Some(faults) = whole.and_then(|whole| whole.faults.as_deref()) {
        case.set_system_out(plain(faults));
    }
    if whole.is_some() {
        // Readers add the cases up.
        case.set_time(duration(rest_s));
    }
    suite.add_test_case(case);
    suite
}

fn status(whole: &Whole<'_>, subtests: &[SubtestCase]) -> TestCaseStatus {
    let nothing = Failure::default();
    let failure = whole.failure.unwrap_or(&nothing);
    // They differ in the calls that led there.
    let is_same = |subtest: &&SubtestCase| {
        let other = subtest.failure.as_ref();
        other.is_some_and(|it| {
            it.kind == failure.kind
                && it.message == failure.message
                && it.statement.is_some()
                && it.statement == failure.statement
        })
    };
    let known = subtests.iter().rev().find(is_same);
    match whole.verdict {
        Verdict::Passed => TestCaseStatus::success(),
        Verdict::Failed if let Some(subtest) = known => {
            let message = format!("the subtest `{}` has failed", subtest.name);
            unsuccessful(NonSuccessKind::Failure, &failure.kind, &message)
        }
        Verdict::Failed => failed(NonSuccessKind::Failure, failure),
        Verdict::Error => failed(NonSuccessKind::Error, failure),
        Verdict::Interrupted => {
            let message = match failure.message.as_str() {
                "" => "the run was interrupted",
                message => message,
            };
            unsuccessful(NonSuccessKind::Error, "interrupted", message)
        }
        Verdict::SessionClosed => TestCaseStatus::skipped(),
    }
}

/// A case with the whole report in it, as the terminal would show it.
fn failed(kind: NonSuccessKind, failure: &Failure) -> TestCaseStatus {
    let mut status = unsuccessful(kind, &failure.kind, &failure.message);
    status.set_description(report_of(failure));
    status
}

/// Readers make one line of an attribute: the rest of the message is in the text.
fn unsuccessful(kind: NonSuccessKind, label: &str, message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(plain(label));
    status.set_message(first_line(message));
    if message.lines().nth(1).is_some() {
        status.set_description(plain(message));
    }
    status
}

fn first_line(message: &str) -> String {
    plain(message.lines().next().unwrap_or_default())
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
    fn text_of_any_kind_is_one_that_xml_has() {
        let failure = Failure {
            kind: "K\u{ffff}".to_owned(),
            message: "first\u{fffe}\nsecond \u{1b}[31m".to_owned(),
            ..Failure::default()
        };
        let whole = Whole {
            verdict: Verdict::Failed,
            duration_s: 2.0,
            failure: Some(&failure),
            faults: None,
        };
        let text = document("t\u{fffe}", &[], Some(&whole));
        assert!(!text.contains(['\u{fffe}', '\u{ffff}', '\u{1b}']), "{text}");
        // An attribute has one line.
        assert!(text.contains("message=\"first\u{fffd}\""), "{text}");
    }

    #[test]
    fn a_failed_subtest_is_a_failure_of_its_own() {
        let subtest = SubtestCase {
            name: "login".to_owned(),
            own_s: 1.5,
            failure: Some(Failure {
                message: "no <prompt>".to_owned(),
                ..Failure::default()
            }),
        };
        let whole = Whole {
            verdict: Verdict::Passed,
            duration_s: 2.0,
            failure: None,
            faults: None,
        };
        let text = document("t", &[subtest], Some(&whole));
        assert!(text.contains("failures=\"1\""), "{text}");
        assert!(text.contains("no &lt;prompt"), "{text}");
    }
}
