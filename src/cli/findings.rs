//! Findings of the check, for people and for programs.

use std::path::PathBuf;

use serde::Serialize;

use crate::event::{Excerpt, Position};
use crate::language::check::{Finding, Severity};
use crate::report::{Annotation, AnnotationKind, Colours, draw};
use crate::source_map::SourceMap;

/// A finding with its place, as JSON has it.
#[derive(Debug, Serialize)]
pub struct Located<'a> {
    test: &'a str,
    #[serde(flatten)]
    finding: &'a Finding,
    /// None where the script is in no file that was found.
    file: Option<PathBuf>,
    start: Option<Position>,
    end: Option<Position>,
}

/// The finding in the words and lines of a terminal.
pub fn show(finding: &Finding, source_map: &SourceMap, colours: Colours) -> String {
    let headline = format!("{} [{}]", finding.message, finding.code);
    match &finding.range {
        Some(range) => {
            let annotation = Annotation {
                kind: match finding.level {
                    Severity::Error => AnnotationKind::Error,
                    Severity::Warning => AnnotationKind::Warning,
                    Severity::Note => AnnotationKind::Note,
                },
                headline: &headline,
                label: finding.help.as_deref().unwrap_or("here"),
            };
            draw(&source_map.excerpt(range.clone()), &annotation, colours)
        }
        None => format!("{}: {headline}\n", word(finding.level)),
    }
}

pub fn locate<'a>(test: &'a str, finding: &'a Finding, source_map: &SourceMap) -> Located<'a> {
    let excerpt: Option<Excerpt> = finding.range.clone().map(|range| source_map.excerpt(range));
    Located {
        test,
        finding,
        file: excerpt.as_ref().and_then(|excerpt| excerpt.file.clone()),
        start: excerpt.as_ref().map(|excerpt| excerpt.start),
        end: excerpt.as_ref().map(|excerpt| excerpt.end),
    }
}

fn word(level: Severity) -> &'static str {
    match level {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

/// `2 errors, 1 warning`.
pub fn count(findings: &[Finding]) -> String {
    let counts = [Severity::Error, Severity::Warning, Severity::Note].map(|level| {
        let count = findings
            .iter()
            .filter(|finding| finding.level == level)
            .count();
        let plural = if count == 1 { "" } else { "s" };
        (count, format!("{count} {}{plural}", word(level)))
    });
    let words: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(_, text)| text)
        .collect();
    words.join(", ")
}

/// Whether any of them stops a run.
pub fn stops(findings: &[Finding]) -> bool {
    findings
        .iter()
        .any(|finding| finding.level == Severity::Error)
}
