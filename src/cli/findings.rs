//! Findings of the check, for programs.

use std::path::PathBuf;

use serde::Serialize;

use crate::language::check::Finding;
use crate::model::event::{Excerpt, Position};
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
