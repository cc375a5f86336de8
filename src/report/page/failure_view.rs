//! A failure report on the page: its sentences may wrap, the source in its frame may not.

use maud::{Markup, html};

use crate::model::event::Failure;
use crate::report::failures::report_of;

/// A part of a report.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Text(&'a str),
    /// Source text with a line around it, which is of no use in pieces.
    Frame(&'a str),
}

pub(super) fn failure_view(failure: &Failure) -> Markup {
    let report = report_of(failure);
    html! {
        pre.failure {
            @for part in parts(&report) {
                @match part {
                    Part::Text(text) => (text),
                    Part::Frame(text) => span.frame { (text) },
                }
            }
        }
    }
}

fn parts(report: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = report;
    while let Some((begin, end)) = next_frame(rest) {
        parts.extend((begin > 0).then(|| Part::Text(&rest[..begin])));
        parts.push(Part::Frame(&rest[begin..end]));
        rest = &rest[end..];
    }
    parts.extend((!rest.is_empty()).then_some(Part::Text(rest)));
    parts
}

/// Where the next frame begins and ends, in bytes.
fn next_frame(text: &str) -> Option<(usize, usize)> {
    let mut begin = None;
    let mut position = 0;
    for line in text.split_inclusive('\n') {
        let drawn = line.trim_start();
        if drawn.starts_with("╭─") {
            begin = Some(position);
        }
        position += line.len();
        if let Some(begin) = begin
            && drawn.trim_end().ends_with("─╯")
        {
            return Some((begin, position));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_from_sentences() {
        let frame = "   ╭─[ a.nix:1:1 ]\n   │\n 1 │ boom()\n───╯\n";
        let report = format!("it failed\n{frame}calls:\n{frame}");
        assert_eq!(
            parts(&report),
            [
                Part::Text("it failed\n"),
                Part::Frame(frame),
                Part::Text("calls:\n"),
                Part::Frame(frame)
            ]
        );
        for text in ["", "no frame", "╭─[ has no end\n"] {
            let whole: Vec<Part<'_>> = parts(text);
            assert!(whole.iter().all(|part| *part == Part::Text(text)));
        }
    }
}
