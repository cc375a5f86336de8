//! `report.html`: a page for people, in one file, which needs no network and no server.
//!
//! The page is readable without JavaScript. All text of guests and scripts is escaped.

mod attempt;
mod earlier_runs;
mod failure_view;
mod files;
mod lanes;
mod overview;
mod pictures;
mod test;

pub(super) use pictures::PictureBudget;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use self::overview::overview;
use super::recorded::RecordedTest;
use super::sanitise::plain;
use super::summary::counts;
use crate::history::History;
use crate::model::outcome::{Outcome, RunResults, TestResult};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Beyond it, tests are shown without their consoles and calls: a browser has to load the page. Those that need attention
/// come before.
const MOST_BYTES: usize = 40 << 20;

/// The content of a page.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageContext<'a> {
    /// The folder of the run; links of the page are relative to it.
    pub folder: &'a Path,
    pub history: &'a History,
    /// When the run began: what was before is an earlier one.
    pub started_unix_s: u64,
    pub pictures: &'a PictureBudget,
    /// Whether there is one test, which the reader wants to see.
    pub is_alone: bool,
}

/// Returns the order of tests on the page: those that need attention first.
pub(super) fn order(results: &RunResults) -> Vec<usize> {
    let mut order: Vec<usize> = (0..results.tests.len()).collect();
    order.sort_by_key(|index| {
        let test = &results.tests[*index];
        (rank(test), test.label.clone())
    });
    order
}

/// The sections of a page, made of one test after another.
pub(super) struct PageWriter<'a> {
    context: PageContext<'a>,
    sections: Vec<Markup>,
    bytes: usize,
}

impl<'a> PageWriter<'a> {
    pub fn new(context: PageContext<'a>) -> Self {
        Self {
            context,
            sections: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds the next test, in the [`order`] of the page.
    pub fn add(&mut self, test: &TestResult, recorded: &RecordedTest) {
        let number = self.sections.len();
        let section = if self.bytes < MOST_BYTES {
            test::section(self.context, number, test, recorded)
        } else {
            test::brief_section(self.context, number, test, recorded)
        };
        self.bytes += section.0.len();
        self.sections.push(section);
    }

    /// Returns the text of the page.
    pub fn finish(self, results: &RunResults) -> String {
        document(&self.sections, results)
    }
}

fn document(sections: &[Markup], results: &RunResults) -> String {
    let title = match results.tests.as_slice() {
        [only] => format!("{}: {}", only.label, only.outcome.name()),
        all => format!("{} tests: {}", all.len(), counts(all)),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Nothing is loaded, and nothing but our own script is run.
                meta http-equiv="Content-Security-Policy" content=(policy());
                title { (plain(&title)) }
                style { (PreEscaped(STYLE)) }
                noscript { style { "nav.tools, p.tools input, p.tools select { display: none }" } }
            }
            body {
                header {
                    h1 { (plain(&title)) }
                    p.when {
                        (moment(results.started_unix_s)) ", " (seconds(results.duration_s))
                        ", by Snowglobe " (env!("CARGO_PKG_VERSION"))
                    }
                }
                @for reason in &results.missing {
                    pre.failure { "Not all is here: " (plain(reason)) }
                }
                @if results.tests.len() > 1 {
                    (overview(&results.tests, results.duration_s))
                    (tools(&results.tests))
                }
                main {
                    @for section in sections { (section) }
                }
                p #none hidden { "No test fits." }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// Returns the Content-Security-Policy of the page.
fn policy() -> String {
    let script = STANDARD.encode(Sha256::digest(SCRIPT));
    format!(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{script}'"
    )
}

/// Returns the rank of a test: the lowest needs attention first.
fn rank(test: &TestResult) -> u8 {
    match test.outcome {
        _ if test.is_excused() => 2,
        Outcome::LeftOut => 3,
        Outcome::Flaky => 1,
        outcome if outcome.is_good() => 4,
        _ => 0,
    }
}

/// Returns the class of a test: its outcome, or `in-quarantine`.
fn kind(test: &TestResult) -> String {
    if test.is_excused() {
        return "in-quarantine".to_owned();
    }
    class(test.outcome)
}

/// Returns the controls that choose tests.
fn tools(tests: &[TestResult]) -> PreEscaped<String> {
    let (excused, ended): (Vec<_>, Vec<_>) = tests.iter().partition(|test| test.is_excused());
    let outcomes = Outcome::count(ended.iter().map(|test| test.outcome));
    html! {
        nav.tools {
            input #search type="search" placeholder="Search tests ( / )" aria-label="Search tests" autocomplete="off";
            div role="group" aria-label="Outcomes" {
                @for (count, outcome) in outcomes {
                    button.filter.(class(outcome)) type="button" data-outcome=(class(outcome)) aria-pressed="true" { (outcome.name()) " " (count) }
                }
                @if !excused.is_empty() {
                    button.filter type="button" data-outcome="in-quarantine" aria-pressed="true" { "in quarantine " (excused.len()) }
                }
            }
            label { "sorted by " select #sort {
                option value="attention" { "what needs attention" }
                option value="name" { "name" }
                option value="duration" { "duration" }
            } }
            output #shown aria-live="polite" {}
            span.keys { kbd { "j" } " " kbd { "k" } " next and previous test, " kbd { "Enter" } " opens it" }
        }
    }
}

/// An outcome as the name of a class.
fn class(outcome: Outcome) -> String {
    outcome.name().replace(' ', "-")
}

fn seconds(duration_s: f64) -> String {
    format!("{duration_s:.1} s")
}

/// A time of the day, in the time zone of this host.
fn moment(unix_s: u64) -> String {
    let second = i64::try_from(unix_s).unwrap_or_default();
    let time = Timestamp::from_second(second).unwrap_or_default();
    let local = time.to_zoned(TimeZone::system());
    local.strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// A path as the page links to it: relative to its folder, with its special characters escaped.
fn link(context: PageContext<'_>, path: &Path) -> Option<String> {
    let relative: PathBuf = if path.is_absolute() {
        path.strip_prefix(context.folder).ok()?.to_owned()
    } else {
        path.to_owned()
    };
    Some(format!("./{}", encoded(relative.to_str()?)))
}

/// A text as a part of an address.
fn encoded(text: &str) -> String {
    let mut part = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            part.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(part, "%{byte:02X}");
        }
    }
    part
}

/// The size of a file, for people; None if there is none.
fn size(path: &Path) -> Option<String> {
    let bytes = fs::symlink_metadata(path)
        .ok()
        .filter(fs::Metadata::is_file)?
        .len();
    Some(match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / 1_048_576),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative_and_escaped() {
        let history = History::default();
        let context = PageContext {
            folder: Path::new("/out"),
            history: &history,
            started_unix_s: 0,
            pictures: &PictureBudget::new(),
            is_alone: false,
        };
        let link = |path: &str| link(context, Path::new(path));
        assert_eq!(link("/out/a b/\"x\".log").unwrap(), "./a%20b/%22x%22.log");
        assert_eq!(link("javascript:x").unwrap(), "./javascript%3Ax");
        assert_eq!(link("/etc/passwd"), None);
    }

    #[test]
    fn nothing_of_a_test_becomes_markup() {
        let history = History::default();
        let folder = tempfile::tempdir().unwrap();
        let context = PageContext {
            folder: folder.path(),
            history: &history,
            started_unix_s: 0,
            pictures: &PictureBudget::new(),
            is_alone: false,
        };
        let results = RunResults {
            version: 1,
            started_unix_s: 0,
            duration_s: 1.0,
            interrupted: false,
            missing: Vec::new(),
            tests: vec![TestResult {
                label: "</title><script>alert(1)</script>".to_owned(),
                message: Some("<img src=x onerror=alert(2)>\u{1b}[31m".to_owned()),
                outcome: Outcome::NotRun,
                ..TestResult::default()
            }],
        };
        let mut page = PageWriter::new(context);
        page.add(&results.tests[0], &RecordedTest::default());
        let page = page.finish(&results);
        assert_eq!(page.matches("<script>").count(), 1);
        assert!(!page.contains("<img"), "{page}");
        assert!(!page.contains('\u{1b}'));
        assert!(page.len() < 300 << 10, "{}", page.len());
    }
}
