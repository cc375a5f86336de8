//! The text of a machine or a script, shortened for a page.

use std::collections::VecDeque;

/// Number of first and last lines that a page keeps of a longer text: a guest writes as many lines as it likes.
const FIRST_LINES: usize = 400;
const LAST_LINES: usize = 1600;
const LONGEST_LINE: usize = 2000;

/// Words that say how bad a line is.
const ERRORS: [&str; 14] = [
    "error",
    "errors",
    "failed",
    "failure",
    "failures",
    "fail",
    "panic",
    "oops",
    "segfault",
    "fatal",
    "bug",
    "killed",
    "violation",
    "emerg",
];
const WARNINGS: [&str; 6] = [
    "warn",
    "warning",
    "warnings",
    "deprecated",
    "timeout",
    "unable",
];

/// Before such a word, nothing is wrong.
const NONE_OF: [&str; 4] = ["0", "no", "without", "zero"];

/// A line.
#[derive(Debug, Clone)]
pub(in crate::report) struct ConsoleLine {
    pub time_s: f64,
    pub text: String,
}

/// The lines.
#[derive(Debug, Default)]
pub(in crate::report) struct ConsoleText {
    pub first: Vec<ConsoleLine>,
    pub last: VecDeque<ConsoleLine>,
    pub count: usize,
}

impl ConsoleText {
    pub fn add(&mut self, time_s: f64, mut text: String) {
        text.truncate(text.floor_char_boundary(LONGEST_LINE));
        let line = ConsoleLine { time_s, text };
        self.count += 1;
        if self.first.len() < FIRST_LINES {
            self.first.push(line);
            return;
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// How many lines are between the first and the last ones.
    pub fn left_out(&self) -> usize {
        self.count - self.first.len() - self.last.len()
    }
}

/// How bad a line sounds.
pub(in crate::report) fn level(line: &str) -> &'static str {
    let text = line.to_ascii_lowercase();
    let words: Vec<&str> = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let has = |wanted: &[&str]| {
        let mut before = "";
        words.iter().any(|word| {
            let is_bad = wanted.contains(word) && !NONE_OF.contains(&before);
            before = word;
            is_bad
        })
    };
    if has(&ERRORS) || text.contains("out of memory") || text.contains("call trace:") {
        "error"
    } else if has(&WARNINGS) || text.contains("timed out") {
        "warning"
    } else {
        "info"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_writes_without_end_is_cut() {
        let mut console = ConsoleText::default();
        for number in 0..10_000 {
            console.add(0.0, format!("{number} {}", "ä".repeat(2000)));
        }
        assert_eq!((console.count, console.left_out()), (10_000, 8000));
        let last = console.last.back().unwrap();
        assert!(last.text.starts_with("9999 ") && last.text.len() <= LONGEST_LINE);
    }

    #[test]
    fn words_say_how_bad_a_line_is() {
        for line in [
            "[    3.2] EXT4-fs error (device vda)",
            "Failed to start nginx.service",
            "BUG: unable to handle page fault",
            "Out of memory: Killed process 12 (x)",
            "Call Trace:",
        ] {
            assert_eq!(level(line), "error", "{line}");
        }
        for line in ["0 errors found", "no failures", "failover ready", "terror"] {
            assert_eq!(level(line), "info", "{line}");
        }
        assert_eq!(level("WARNING: deprecated option"), "warning");
    }
}
