//! How tests ended in earlier runs: a file in the user's state folder, a line for each test of a run.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::fcntl::FlockArg;
use nix::libc;
use serde::{Deserialize, Serialize};

use crate::bounded_file::{lock_within, open_regular, regular};
use crate::folders::{UserFolder, create_private, own};
use crate::model::event::round;
use crate::model::outcome::{Outcome, RunResults, TestResult};

/// Beyond it the older half is dropped.
const MOST_BYTES: u64 = 8 << 20;

/// Number of the last passed runs whose median is the expected duration.
const RUNS_FOR_DURATION: usize = 5;

/// How a test ended once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When its run started, in seconds since 1970.
    pub run_unix_s: u64,
    /// The file or flake, as an absolute path if it is one.
    pub source: String,
    pub attribute: String,
    /// Its own name; empty if that is not known.
    #[serde(default)]
    pub name: String,
    pub label: String,
    pub outcome: Outcome,
    /// Seconds of one attempt, on average.
    pub duration_s: f64,
    pub attempts: usize,
    pub backend: Option<String>,
    /// See [`TestResult::not_as_containers`].
    #[serde(default)]
    pub not_as_containers: Option<String>,
}

impl HistoryEntry {
    /// Returns the entry of a test of a run.
    #[must_use]
    pub fn of(run: &RunResults, test: &TestResult) -> Self {
        Self {
            run_unix_s: run.started_unix_s,
            source: test.source.clone(),
            attribute: test.attribute.clone(),
            name: test.name.clone(),
            label: test.label.clone(),
            outcome: test.outcome,
            duration_s: per_attempt(test),
            attempts: test.attempts.len(),
            backend: test.backend.clone(),
            not_as_containers: test.not_as_containers.clone(),
        }
    }

    /// Whether the whole file or flake did not evaluate.
    fn is_of_file(&self) -> bool {
        self.name.is_empty() && self.attribute.is_empty() && self.outcome == Outcome::NotRun
    }
}

#[allow(clippy::cast_precision_loss)]
fn per_attempt(test: &TestResult) -> f64 {
    round(test.duration_s / test.attempts.len().max(1) as f64)
}

/// The identity of a test across runs: its source, and its attribute path there.
pub type TestKey = (String, String);

/// The entries of one test, the oldest first.
#[derive(Debug, Clone, Default)]
pub struct TestHistory(Vec<HistoryEntry>);

impl TestHistory {
    #[must_use]
    pub fn entries(&self) -> &[HistoryEntry] {
        &self.0
    }

    /// How it ended last.
    #[must_use]
    pub fn last(&self) -> Option<&HistoryEntry> {
        self.0.last()
    }

    /// Whether it has failed as containers with this identity, and passed as virtual machines.
    #[must_use]
    pub fn is_not_for_containers(&self, identity: &str) -> bool {
        let mut entries = self.0.iter();
        entries.any(|entry| entry.not_as_containers.as_deref() == Some(identity))
    }

    /// How long it takes if it passes, in seconds: the median of the last runs.
    #[must_use]
    pub fn duration_s(&self) -> Option<f64> {
        let passed = self.0.iter().rev();
        let passed = passed.filter(|entry| entry.outcome == Outcome::Passed);
        let mut durations: Vec<f64> = passed
            .take(RUNS_FOR_DURATION)
            .map(|entry| entry.duration_s)
            .collect();
        durations.sort_by(f64::total_cmp);
        durations.get(durations.len() / 2).copied()
    }
}

/// All that is known.
#[derive(Debug, Clone, Default)]
pub struct History {
    tests: HashMap<TestKey, TestHistory>,
}

impl History {
    /// Reads the user's file; it is empty if there is none. Lines of other versions are left out.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub fn read() -> io::Result<Self> {
        let Some(path) = file() else {
            return Ok(Self::default());
        };
        let file = match open_regular(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other?,
        };
        // Not while another run writes.
        let mut file = lock_within(file, FlockArg::LockShared, READ_LIMIT)?;
        let surplus = file.metadata()?.len().saturating_sub(2 * MOST_BYTES);
        // A line whose begin is left out is none.
        file.seek(SeekFrom::Start(surplus))?;
        let mut bytes = Vec::new();
        (&*file).take(2 * MOST_BYTES).read_to_end(&mut bytes)?;
        Ok(Self::of_text(&String::from_utf8_lossy(&bytes)))
    }

    fn of_text(text: &str) -> Self {
        let mut tests: HashMap<TestKey, TestHistory> = HashMap::new();
        let entries = text
            .lines()
            .filter_map(|line| serde_json::from_str::<HistoryEntry>(line).ok());
        for entry in entries {
            let key = (entry.source.clone(), entry.attribute.clone());
            tests.entry(key).or_default().0.push(entry);
        }
        Self { tests }
    }

    /// Returns the entries of a test; `None` if it has none.
    #[must_use]
    pub fn of(&self, source: &str, attribute: &str) -> Option<&TestHistory> {
        self.tests.get(&(source.to_owned(), attribute.to_owned()))
    }

    /// Whether a test of a file or flake has ended before.
    #[must_use]
    pub fn knows(&self, source: &str) -> bool {
        self.tests.keys().any(|(other, _)| other == source)
    }

    /// How a test ended last. If its file did not evaluate since, it was not run.
    #[must_use]
    pub fn last_outcome(&self, source: &str, attribute: &str) -> Option<Outcome> {
        let last = self.of(source, attribute)?.last()?;
        let of_file = self.of(source, "").and_then(TestHistory::last);
        let is_later = |file: &HistoryEntry| file.is_of_file() && file.run_unix_s > last.run_unix_s;
        Some(if of_file.is_some_and(is_later) {
            Outcome::NotRun
        } else {
            last.outcome
        })
    }

    /// All tests, by source and attribute path, and the files that did not evaluate last.
    #[must_use]
    pub fn tests(&self) -> Vec<&TestHistory> {
        let mut tests: Vec<_> = self.tests.iter().collect();
        tests.sort_by_key(|(key, _)| *key);
        let is_mended = |test: &TestHistory| {
            let last = test.last().filter(|last| last.is_of_file());
            last.is_some_and(|last| self.has_run_since(last))
        };
        let tests = tests.into_iter().map(|(_, test)| test);
        tests.filter(|test| !is_mended(test)).collect()
    }

    /// Whether a test of the file has ended since.
    fn has_run_since(&self, file: &HistoryEntry) -> bool {
        let last = self.tests.values().filter_map(TestHistory::last);
        last.into_iter().any(|last| {
            last.source == file.source && !last.is_of_file() && last.run_unix_s > file.run_unix_s
        })
    }
}

/// Adds the tests of a run; without a home folder nothing is remembered.
///
/// # Errors
/// Returns an error if the file cannot be written.
pub fn remember(run: &RunResults) -> io::Result<()> {
    let Some(path) = file() else {
        return Ok(());
    };
    if let Some(folder) = path.parent() {
        create_private(folder)?;
    }
    let file = OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)?;
    // Runs side by side write one after another.
    let mut file = lock_within(regular(file)?, FlockArg::LockExclusive, WRITE_LIMIT)?;
    let mut lines = String::new();
    if !ends_with_a_line(&mut file)? {
        // A run was killed while it wrote.
        lines.push('\n');
    }
    for test in &run.tests {
        lines.push_str(&serde_json::to_string(&HistoryEntry::of(run, test))?);
        lines.push('\n');
    }
    file.seek(SeekFrom::End(0))?;
    file.write_all(lines.as_bytes())?;
    shorten(&mut file)
}

fn ends_with_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == [b'\n'])
}

/// Drops the older half of a file that has become too large.
fn shorten(file: &mut File) -> io::Result<()> {
    if file.metadata()?.len() <= MOST_BYTES {
        return Ok(());
    }
    let mut bytes = Vec::new();
    // What is before was too much already.
    let surplus = file.metadata()?.len().saturating_sub(2 * MOST_BYTES);
    file.seek(SeekFrom::Start(surplus))?;
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let half = text.floor_char_boundary(text.len() / 2);
    let rest = text[half..].split_once('\n').map_or("", |(_, rest)| rest);
    // Over what is there: if this ends in the middle, one line is broken and some are there twice.
    file.seek(SeekFrom::Start(0))?;
    file.write_all(rest.as_bytes())?;
    file.set_len(rest.len() as u64)
}

/// How long another process may hold the file.
const READ_LIMIT: Duration = Duration::from_secs(5);
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// The file; None without a home folder.
fn file() -> Option<PathBuf> {
    Some(own(UserFolder::State)?.join("runs.jsonl"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(attribute: &str, outcome: Outcome, duration_s: f64) -> String {
        let entry = HistoryEntry {
            run_unix_s: 1,
            source: "/t.nix".to_owned(),
            attribute: attribute.to_owned(),
            name: String::new(),
            label: attribute.to_owned(),
            outcome,
            duration_s,
            attempts: 1,
            backend: None,
            not_as_containers: None,
        };
        serde_json::to_string(&entry).unwrap() + "\n"
    }

    #[test]
    fn a_duration_is_the_median_of_the_runs_that_passed() {
        let durations = [90.0, 3.0, 1.0, 2.0, 5.0, 4.0];
        let passed = durations.map(|duration| line("a", Outcome::Passed, duration));
        let text = passed.concat() + &line("a", Outcome::Failed, 100.0) + "half a li";
        let history = History::of_text(&text);
        let known = history.of("/t.nix", "a").unwrap();
        assert_eq!(known.duration_s(), Some(3.0));
        assert_eq!(known.last().unwrap().outcome, Outcome::Failed);
        assert!(history.of("/t.nix", "b").is_none());
    }

    #[test]
    fn a_file_that_did_not_evaluate_since_hides_that_its_tests_passed() {
        let at = |run_unix_s: u64, line: &str| {
            line.replace(
                "\"run_unix_s\":1,",
                &format!("\"run_unix_s\":{run_unix_s},"),
            )
        };
        let named = line("a", Outcome::Passed, 1.0).replace("\"name\":\"\"", "\"name\":\"n\"");
        let of_file = line("", Outcome::NotRun, 0.0);
        let known = |text: &str| {
            let history = History::of_text(text);
            (history.last_outcome("/t.nix", "a"), history.tests().len())
        };
        let mut text = at(1, &named) + &at(2, &of_file);
        assert_eq!(known(&text), (Some(Outcome::NotRun), 2));
        text += &at(3, &named);
        assert_eq!(known(&text), (Some(Outcome::Passed), 1));
    }

    #[test]
    fn half_a_line_does_not_spoil_the_next() {
        let mut file = tempfile::tempfile().unwrap();
        assert!(ends_with_a_line(&mut file).unwrap());
        file.write_all(b"{}\n{\"half").unwrap();
        assert!(!ends_with_a_line(&mut file).unwrap());
        file.write_all(b"\n").unwrap();
        assert!(ends_with_a_line(&mut file).unwrap());
    }

    #[test]
    fn a_large_file_loses_its_older_half() {
        let mut file = tempfile::tempfile().unwrap();
        let one = line("a", Outcome::Passed, 1.0);
        let count = usize::try_from(MOST_BYTES).unwrap() / one.len() + 1;
        file.write_all(one.repeat(count).as_bytes()).unwrap();
        shorten(&mut file).unwrap();
        let length = file.metadata().unwrap().len();
        assert!(length > MOST_BYTES / 3 && length < MOST_BYTES / 2 + 1);
        assert_eq!(length % one.len() as u64, 0);
    }
}
