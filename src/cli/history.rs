//! `snowglobe history`: how tests ended in earlier runs.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::error::Failed;
use super::write_stdout;
use crate::filter::{Pattern, TestSubject};
use crate::history::{History, HistoryEntry, TestHistory};
use crate::model::outcome::Outcome;
use crate::runner::file_itself;

/// How many runs of a test are listed.
const LISTED_RUNS: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum HistoryFormat {
    Human,
    Json,
}

#[derive(Debug, Args)]
pub struct HistoryCommand {
    /// A name, a pattern of names such as `postgres*`, or the file of tests [default: all tests].
    #[arg(value_name = "TEST|FILE", value_parser = wanted_tests)]
    test: Option<WantedTests>,
    /// Select the output format.
    #[arg(long, value_enum, default_value_t = HistoryFormat::Human)]
    format: HistoryFormat,
}

/// The tests to show.
#[derive(Debug, Clone)]
enum WantedTests {
    Named(Pattern),
    /// The tests of a file, by its own path.
    OfFile(String),
}

fn wanted_tests(text: &str) -> Result<WantedTests, String> {
    let path = Path::new(text);
    if path.exists() {
        return Ok(WantedTests::OfFile(file_itself(path).display().to_string()));
    }
    let pattern: Result<Pattern, _> = text.parse();
    pattern
        .map(WantedTests::Named)
        .map_err(|error| error.to_string())
}

impl HistoryCommand {
    pub fn run(&self) -> Result<ExitCode, Failed> {
        let history = History::read().map_err(Failed::host("cannot read the history of tests"))?;
        let tests: Vec<&TestHistory> = history
            .tests()
            .into_iter()
            .filter(|test| test.last().is_some_and(|last| self.is_meant(last)))
            .collect();
        if tests.is_empty() {
            let message = match &self.test {
                Some(WantedTests::Named(_)) => {
                    "no test of this name has run here: `snowglobe history` lists those that have"
                }
                Some(WantedTests::OfFile(_)) => {
                    "no test of this file has run here: `snowglobe history` lists those that have"
                }
                None => "no test has run here yet",
            };
            return Err(Failed::Usage(message.to_owned()));
        }
        let text = match (self.format, tests.as_slice()) {
            (HistoryFormat::Json, _) => tests
                .iter()
                .flat_map(|test| test.entries())
                .map(json)
                .collect(),
            (HistoryFormat::Human, [only]) => summary(only) + &runs(only),
            (HistoryFormat::Human, _) => tests.iter().copied().map(summary).collect(),
        };
        write_stdout(&text)?;
        Ok(ExitCode::SUCCESS)
    }

    fn is_meant(&self, entry: &HistoryEntry) -> bool {
        match &self.test {
            None => true,
            Some(WantedTests::OfFile(file)) => entry.source == *file,
            Some(WantedTests::Named(pattern)) => pattern.names(&TestSubject {
                name: &entry.name,
                attribute: &entry.attribute,
                label: &entry.label,
                ..TestSubject::default()
            }),
        }
    }
}

fn json(entry: &HistoryEntry) -> String {
    serde_json::to_string(entry).expect("entries are plain data") + "\n"
}

/// A line of what all runs of a test say together.
fn summary(test: &TestHistory) -> String {
    let Some(last) = test.last() else {
        return String::new();
    };
    let entries = test.entries();
    let counts = Outcome::count_in_words(entries.iter().map(|entry| entry.outcome));
    let runs = if entries.len() == 1 { "run" } else { "runs" };
    let mut parts = vec![format!("{} {runs}: {}", entries.len(), counts.join(", "))];
    parts.extend(flake_rate(entries));
    parts.extend(
        test.duration_s()
            .map(|duration| format!("takes {duration:.1} s")),
    );
    format!("{} ({}): {}\n", last.label, last.source, parts.join("; "))
}

/// How often a test passed only at a later attempt, of the runs that have a verdict.
fn flake_rate(entries: &[HistoryEntry]) -> Option<String> {
    let count = |outcome| {
        entries
            .iter()
            .filter(|entry| entry.outcome == outcome)
            .count()
    };
    let flaky = count(Outcome::Flaky);
    if flaky == 0 {
        return None;
    }
    let all = flaky + count(Outcome::Passed) + count(Outcome::Failed);
    Some(match flaky * 100 / all {
        0 => "flaky in less than 1 %".to_owned(),
        percent => format!("flaky in {percent} %"),
    })
}

/// The last runs, the newest first.
fn runs(test: &TestHistory) -> String {
    let last = test.entries().iter().rev().take(LISTED_RUNS);
    let line = |entry: &HistoryEntry| {
        let attempts = match entry.attempts {
            0 | 1 => String::new(),
            count => format!(", {count} attempts"),
        };
        let backend = entry.backend.as_deref();
        let backend = backend.map_or(String::new(), |backend| format!(", {backend}"));
        format!(
            "  {}  {} ({:.1} s{attempts}{backend})\n",
            moment(entry.run_unix_s),
            entry.outcome.name(),
            entry.duration_s
        )
    };
    last.map(line).collect()
}

/// A time of the day, in the user's time zone.
fn moment(unix_s: u64) -> String {
    let second = i64::try_from(unix_s).unwrap_or_default();
    let time = Timestamp::from_second(second).unwrap_or_default();
    let local = time.to_zoned(TimeZone::system());
    local.strftime("%Y-%m-%d %H:%M").to_string()
}
