//! Findings of the check, for programs.

use std::path::PathBuf;

use serde::Serialize;

use crate::language::check::Finding;
use crate::model::event::{Excerpt, Position};
use crate::source_map::SourceMap;

/// A finding with its place, as JSON has it.
#[derive(Debug, Serialize)]
pub struct Located {
    pub test: String,
    #[serde(flatten)]
    pub finding: Finding,
    /// None where the script is in no file that was found.
    pub file: Option<PathBuf>,
    pub start: Option<Position>,
    pub end: Option<Position>,
}

pub fn locate(test: &str, finding: &Finding, source_map: &SourceMap) -> Located {
    let excerpt: Option<Excerpt> = finding.range.clone().map(|range| source_map.excerpt(range));
    Located {
        test: test.to_owned(),
        finding: finding.clone(),
        file: excerpt.as_ref().and_then(|excerpt| excerpt.file.clone()),
        start: excerpt.as_ref().map(|excerpt| excerpt.start),
        end: excerpt.as_ref().map(|excerpt| excerpt.end),
    }
}
