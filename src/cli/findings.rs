//! Findings of the check, for people and for programs.

use std::path::PathBuf;

use serde::Serialize;

use crate::language::check::{Finding, Severity};
use crate::model::event::{Excerpt, Position};
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
        None => format!("{}: {headline}\n", finding.level),
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
