//! Nix's string literals: their text after unescaping and unindenting, and where each part of it stands.
//!
//! The rules are those of Nix's own parser: the least indentation of all lines
//! with more than spaces is dropped from every line, antiquotations and escapes
//! count as more than spaces, a first line of spaces and a last one do not count.

use std::ops::Range;

use rnix::ast::{AstToken, Interpol, InterpolPart, Str};
use rowan::ast::AstNode;

/// A part of a literal.
pub(super) enum Part {
    /// Text, and its runs: where each begins in the text and in the file.
    Text(String, Vec<(usize, usize)>),
    Antiquotation(Interpol, Range<usize>),
}

/// A stretch of characters as the file has them, or one that an escape stands for.
struct StringPiece {
    text: String,
    at: usize,
    escaped: bool,
}

enum Raw {
    Text(StringPiece),
    Antiquotation(Interpol, Range<usize>),
}

/// The parts of a literal.
pub(super) fn parts(literal: &Str) -> Vec<Part> {
    let indented = literal
        .syntax()
        .first_token()
        .is_some_and(|token| token.text() == "''");
    let mut raw = Vec::new();
    for part in literal.parts() {
        match part {
            InterpolPart::Literal(content) => {
                let token = content.syntax();
                let begin = usize::from(token.text_range().start());
                let pieces = if indented {
                    unescape_indented(token.text(), begin)
                } else {
                    unescape_quoted(token.text(), begin)
                };
                raw.extend(pieces.into_iter().map(Raw::Text));
            }
            InterpolPart::Interpolation(interpolation) => {
                let range = interpolation.syntax().text_range();
                raw.push(Raw::Antiquotation(
                    interpolation,
                    range.start().into()..range.end().into(),
                ));
            }
        }
    }
    if indented {
        drop_first_line(&mut raw);
        unindent(&mut raw);
    }
    join(raw)
}

fn unescape_quoted(text: &str, begin: usize) -> Vec<StringPiece> {
    let mut pieces = Vec::new();
    let mut rest = 0;
    while let Some(found) = text[rest..].find(['\\', '\r']) {
        let escape = rest + found;
        plain(&mut pieces, &text[rest..escape], begin + rest);
        if text[escape..].starts_with('\r') {
            // Line ends of any kind are newlines in there, but not in indented strings.
            rest = escape
                + if text[escape..].starts_with("\r\n") {
                    2
                } else {
                    1
                };
            pieces.push(StringPiece {
                text: "\n".to_owned(),
                at: begin + escape,
                escaped: true,
            });
            continue;
        }
        let Some(char) = text[escape + 1..].chars().next() else {
            return pieces;
        };
        pieces.push(StringPiece {
            text: escaped(char).to_string(),
            at: begin + escape,
            escaped: true,
        });
        rest = escape + 1 + char.len_utf8();
    }
    plain(&mut pieces, &text[rest..], begin + rest);
    pieces
}

fn unescape_indented(text: &str, begin: usize) -> Vec<StringPiece> {
    let mut pieces = Vec::new();
    let mut rest = 0;
    while let Some(found) = text[rest..].find("''") {
        let escape = rest + found;
        plain(&mut pieces, &text[rest..escape], begin + rest);
        let after = &text[escape + 2..];
        let (meaning, length) = if after.starts_with('\'') {
            ("''".to_owned(), 3)
        } else if after.starts_with('$') {
            ("$".to_owned(), 3)
        } else if let Some(char) = after
            .strip_prefix('\\')
            .and_then(|after| after.chars().next())
        {
            (escaped(char).to_string(), 3 + char.len_utf8())
        } else {
            ("''".to_owned(), 2)
        };
        pieces.push(StringPiece {
            text: meaning,
            at: begin + escape,
            escaped: true,
        });
        rest = escape + length;
    }
    plain(&mut pieces, &text[rest..], begin + rest);
    pieces
}

fn escaped(char: char) -> char {
    match char {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        other => other,
    }
}

fn plain(pieces: &mut Vec<StringPiece>, text: &str, at: usize) {
    if !text.is_empty() {
        pieces.push(StringPiece {
            text: text.to_owned(),
            at,
            escaped: false,
        });
    }
}

/// Removes the rest of the line after the opening quotes, if it is only spaces.
fn drop_first_line(raw: &mut [Raw]) {
    if let Some(Raw::Text(piece)) = raw.first_mut()
        && !piece.escaped
        && let Some(end) = piece.text.find('\n')
        && piece.text[..end].bytes().all(|byte| byte == b' ')
    {
        piece.text.drain(..=end);
        piece.at += end + 1;
    }
}

fn unindent(raw: &mut Vec<Raw>) {
    let indentation = least_indentation(raw);
    let mut at_line_start = true;
    let mut dropped = 0;
    let mut kept = Vec::new();
    let count = raw.len();
    for (number, part) in std::mem::take(raw).into_iter().enumerate() {
        let piece = match part {
            Raw::Text(piece) => piece,
            antiquotation @ Raw::Antiquotation(..) => {
                at_line_start = false;
                dropped = 0;
                kept.push(antiquotation);
                continue;
            }
        };
        let mut run = StringPiece {
            text: String::new(),
            at: piece.at,
            escaped: piece.escaped,
        };
        let mut text = piece.text.as_str();
        if number + 1 == count && !piece.escaped {
            text = without_last_line(text);
        }
        for (offset, char) in text.char_indices() {
            let drop = at_line_start && char == ' ' && dropped < indentation;
            if drop {
                dropped += 1;
                if !run.text.is_empty() {
                    let escaped = run.escaped;
                    kept.push(Raw::Text(std::mem::replace(
                        &mut run,
                        StringPiece {
                            text: String::new(),
                            at: 0,
                            escaped,
                        },
                    )));
                }
                continue;
            }
            if char == '\n' {
                at_line_start = true;
                dropped = 0;
            } else if char != ' ' {
                at_line_start = false;
                dropped = 0;
            }
            if run.text.is_empty() {
                run.at = piece.at + if piece.escaped { 0 } else { offset };
            }
            run.text.push(char);
        }
        if !run.text.is_empty() {
            kept.push(Raw::Text(run));
        }
    }
    *raw = kept;
}

fn least_indentation(raw: &[Raw]) -> usize {
    let mut least = usize::MAX;
    let mut current = 0;
    let mut at_line_start = true;
    let mut end = |at_line_start: &mut bool, current: usize| {
        if std::mem::replace(at_line_start, false) {
            least = least.min(current);
        }
    };
    for part in raw {
        let Raw::Text(piece) = part else {
            end(&mut at_line_start, current);
            continue;
        };
        if piece.escaped {
            end(&mut at_line_start, current);
            continue;
        }
        for byte in piece.text.bytes() {
            match byte {
                b'\n' => {
                    at_line_start = true;
                    current = 0;
                }
                b' ' if at_line_start => current += 1,
                _ => end(&mut at_line_start, current),
            }
        }
    }
    least
}

fn without_last_line(text: &str) -> &str {
    match text.rfind('\n') {
        Some(newline) if text[newline + 1..].bytes().all(|byte| byte == b' ') => &text[..=newline],
        _ => text,
    }
}

/// Stretches between antiquotations as one text each.
fn join(raw: Vec<Raw>) -> Vec<Part> {
    let mut parts = Vec::new();
    for part in raw {
        match part {
            Raw::Antiquotation(interpolation, range) => {
                parts.push(Part::Antiquotation(interpolation, range));
            }
            Raw::Text(piece) => match parts.last_mut() {
                Some(Part::Text(text, runs)) => {
                    runs.push((text.len(), piece.at));
                    text.push_str(&piece.text);
                }
                _ => parts.push(Part::Text(piece.text, vec![(0, piece.at)])),
            },
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use rnix::ast::Expr;

    use super::*;

    /// The literal's text, with `${}` for antiquotations.
    fn text(source: &str) -> String {
        let Some(Expr::Str(literal)) = rnix::Root::parse(source).ok().unwrap().expr() else {
            panic!("no string");
        };
        parts(&literal)
            .into_iter()
            .map(|part| match part {
                Part::Text(text, runs) => {
                    for (begin, at) in runs {
                        let shown = text[begin..].chars().next().unwrap();
                        let there = source[at..].chars().next().unwrap();
                        assert!(
                            there == shown || "\\'\r".contains(there),
                            "{source:?} at {at}"
                        );
                    }
                    text
                }
                Part::Antiquotation(..) => "${}".to_owned(),
            })
            .collect()
    }

    /// The expected texts are those of Nix 2.8, evaluated with `x = "${}"`.
    #[test]
    fn literals_are_what_nix_makes_of_them() {
        for (source, expected) in [
            ("''a''", "a"),
            ("''\n  a\n    b\n  ''", "a\n  b\n"),
            ("''\n  a\n    b\n''", "a\n  b\n"),
            ("''  \n    a\n  ${x}b\n''", "  a\n${}b\n"),
            ("''\n\n    a\n\n   \n    b''", "\na\n\n\nb"),
            (
                "''\n  '''a'''\n  ''${x} $${x}\n   ''\\t.\n''",
                "''a''\n${x} $${x}\n \t.\n",
            ),
            ("''a\n  b\n''", "a\n  b\n"),
            ("\"a\\n\\${x}\\\\${x}\"", "a\n${x}\\${}"),
            ("''\n\ta\n  b\n''", "\ta\n  b\n"),
            ("\"a\r\nb\rc\"", "a\nb\nc"),
        ] {
            assert_eq!(text(source), expected, "{source:?}");
        }
    }
}
