//! Lines of a file with a mark under what is meant, as compilers show them.

use ariadne::{Color, Config, IndexType, Label, Report, ReportKind, Source};

use crate::model::event::{Excerpt, Position};

/// Lines of more bytes are not drawn.
const LONGEST_LINE: usize = 400;

/// The labels of an excerpt.
#[derive(Debug, Clone, Copy)]
pub struct Annotation<'a> {
    pub kind: AnnotationKind,
    /// Above the excerpt.
    pub headline: &'a str,
    /// Under the marked part.
    pub label: &'a str,
}

/// How grave it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnotationKind {
    Error,
    Warning,
    Note,
}

/// Whether a terminal shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    On,
    Off,
}

impl Colours {
    /// Whether standard output shows colours, as `NO_COLOR` and its kind decide.
    #[must_use]
    pub fn of_stdout() -> Self {
        if console::colors_enabled() {
            Self::On
        } else {
            Self::Off
        }
    }

    /// Whether standard error shows colours.
    #[must_use]
    pub fn of_stderr() -> Self {
        if console::colors_enabled_stderr() {
            Self::On
        } else {
            Self::Off
        }
    }
}

/// The excerpt as text; it ends with a newline.
#[must_use]
pub fn draw(excerpt: &Excerpt, annotation: &Annotation<'_>, colours: Colours) -> String {
    let (word, colour) = match annotation.kind {
        AnnotationKind::Error => ("error", Color::Red),
        AnnotationKind::Warning => ("warning", Color::Yellow),
        AnnotationKind::Note => ("note", Color::Cyan),
    };
    let name = excerpt.file.as_ref().map_or_else(
        || "the test's script".to_owned(),
        |file| file.display().to_string(),
    );
    let is_far = excerpt.first_line > FARTHEST_LINE;
    if is_far || excerpt.lines.iter().any(|line| line.len() > LONGEST_LINE) {
        return shorten(excerpt, annotation, &name, word);
    }
    // Empty lines before it, so that lines have their own numbers everywhere.
    let before = excerpt.first_line.saturating_sub(1);
    let text = "\n".repeat(before) + &excerpt.lines.join("\n");
    let start = before + offset(excerpt, excerpt.start);
    let end = (before + offset(excerpt, excerpt.end)).max(start);
    let span = (name.clone(), start..end);
    let config = Config::new()
        .with_color(colours == Colours::On)
        .with_index_type(IndexType::Byte);
    let label = Label::new(span.clone())
        .with_color(colour)
        .with_message(annotation.label);
    let report = Report::build(ReportKind::Custom(word, colour), span)
        .with_config(config)
        .with_message(annotation.headline)
        .with_label(label);
    let mut drawn = Vec::new();
    // A Vec takes whatever is written.
    let _ = report
        .finish()
        .write((name, Source::from(text)), &mut drawn);
    let drawn = String::from_utf8_lossy(&drawn);
    let drawn = match colours {
        Colours::On => drawn,
        // The first word has its colour all the same.
        Colours::Off => console::strip_ansi_codes(&drawn).into_owned().into(),
    };
    // Trailing blanks would be in the way of who compares outputs.
    let lines: Vec<&str> = drawn.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

/// The last line of a file that is drawn with its own number.
const FARTHEST_LINE: usize = 1_000_000;

/// An excerpt of lines that are too long to draw: what is meant, and its place.
fn shorten(excerpt: &Excerpt, annotation: &Annotation<'_>, name: &str, word: &str) -> String {
    let Position { line, column } = excerpt.start;
    let text = excerpt.lines.get(line.saturating_sub(excerpt.first_line));
    let meant = text
        .map_or("", String::as_str)
        .chars()
        .skip(column.saturating_sub(1));
    let shown: String = meant.take(LONGEST_LINE / 4).collect();
    format!(
        "{word}: {}\n  at {name}:{line}:{column}: {shown}…\n  {}\n",
        annotation.headline, annotation.label
    )
}

/// The byte of the excerpt's own lines at which a position is.
fn offset(excerpt: &Excerpt, position: Position) -> usize {
    let line = position.line.saturating_sub(excerpt.first_line);
    let before: usize = excerpt
        .lines
        .iter()
        .take(line)
        .map(|line| line.len() + 1)
        .sum();
    let within = excerpt.lines.get(line).map_or(0, |text| {
        let mut chars = text.char_indices();
        let char = chars.nth(position.column.saturating_sub(1));
        char.map_or(text.len(), |(offset, _)| offset)
    });
    before + within
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_lines_are_not_drawn() {
        let excerpt = Excerpt {
            file: None,
            start: Position {
                line: 1,
                column: 1001,
            },
            end: Position {
                line: 1,
                column: 1002,
            },
            first_line: 1,
            lines: vec!["ab".repeat(1000)],
        };
        let annotation = Annotation {
            kind: AnnotationKind::Warning,
            headline: "odd",
            label: "here",
        };
        let drawn = draw(&excerpt, &annotation, Colours::Off);
        let expected = format!(
            "warning: odd\n  at the test's script:1:1001: {}…\n  here\n",
            "ab".repeat(50)
        );
        assert_eq!(drawn, expected);
    }

    #[test]
    fn marks_are_under_what_is_meant() {
        let excerpt = Excerpt {
            file: Some("t.nix".into()),
            start: Position {
                line: 12,
                column: 7,
            },
            end: Position {
                line: 12,
                column: 9,
            },
            first_line: 11,
            lines: vec!["  testScript = ''".into(), "    é ab()".into()],
        };
        let annotation = Annotation {
            kind: AnnotationKind::Error,
            headline: "wrong",
            label: "here",
        };
        let drawn = draw(&excerpt, &annotation, Colours::Off);
        assert_eq!(
            drawn,
            "error: wrong\n    ╭─[ t.nix:12:7 ]\n    │\n 12 │     é ab()\n    │       ─┬\n    │        ╰── here\n────╯\n"
        );
    }
}
