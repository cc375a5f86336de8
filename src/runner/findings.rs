//! Findings of the check, for people.

use crate::language::check::{Finding, Severity};
use crate::report::{Annotation, AnnotationKind, Colours, draw};
use crate::source_map::SourceMap;

/// The finding in the words and lines of a terminal.
#[must_use]
pub fn show_finding(finding: &Finding, source_map: &SourceMap, colours: Colours) -> String {
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
        None => format!("{}: {headline}\n", finding.level),
    }
}
