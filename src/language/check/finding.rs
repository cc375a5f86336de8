//! Findings: what is, or may be, wrong with a script.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

/// Something that is, or may be, wrong with a script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub level: Severity,
    /// A stable name of the kind of finding, for programs.
    pub code: &'static str,
    pub message: String,
    /// The remedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Bytes of the script; none if it is about the test as a whole.
    #[serde(skip)]
    pub range: Option<Range<usize>>,
}

/// How sure it is that a finding is a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Note,
    Warning,
    /// The script cannot run as it is.
    Error,
}

impl Finding {
    pub(super) fn error(code: &'static str, message: String, range: Range<usize>) -> Self {
        Self {
            level: Severity::Error,
            code,
            message,
            help: None,
            range: Some(range),
        }
    }

    pub(super) fn warning(code: &'static str, message: String, range: Range<usize>) -> Self {
        Self {
            level: Severity::Warning,
            ..Self::error(code, message, range)
        }
    }

    /// Returns the finding at a place.
    pub(super) fn at(self, range: Range<usize>) -> Self {
        Self {
            range: Some(range),
            ..self
        }
    }

    pub(super) fn with_help(self, help: Option<String>) -> Self {
        Self { help, ..self }
    }

    /// Returns the finding as a warning: its exception is caught where it happens, and may be meant.
    pub(super) fn softened(self) -> Self {
        Self {
            level: Severity::Warning,
            ..self
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// Counts findings, for people: `2 errors, 1 warning`.
#[must_use]
pub fn count(findings: &[Finding]) -> String {
    let counts = [Severity::Error, Severity::Warning, Severity::Note].map(|level| {
        let count = findings
            .iter()
            .filter(|finding| finding.level == level)
            .count();
        let plural = if count == 1 { "" } else { "s" };
        (count, format!("{count} {level}{plural}"))
    });
    let texts: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(_, text)| text)
        .collect();
    texts.join(", ")
}

/// Whether any of them stops a run.
#[must_use]
pub fn stops(findings: &[Finding]) -> bool {
    findings
        .iter()
        .any(|finding| finding.level == Severity::Error)
}
