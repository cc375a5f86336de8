//! Positions of the protocol: lines, and UTF-16 units in them.

use std::ops::Range;

use lsp_types::{Position, Range as LspRange};

/// Returns the byte of a text at a position. A position beyond a line is at its end.
pub(super) fn offset(text: &str, position: Position) -> usize {
    let mut begin = 0;
    for _ in 0..position.line {
        match text[begin..].find('\n') {
            Some(length) => begin += length + 1,
            None => return text.len(),
        }
    }
    let line = text[begin..].split('\n').next().unwrap_or_default();
    let line = line.strip_suffix('\r').unwrap_or(line);
    let mut units = 0;
    for (at, character) in line.char_indices() {
        if units >= position.character {
            return begin + at;
        }
        units += utf16_units(character);
    }
    begin + line.len()
}

/// Returns the position of a byte of a text.
pub(super) fn position(text: &str, offset: usize) -> Position {
    let before = &text[..text.floor_char_boundary(offset.min(text.len()))];
    let line = before.matches('\n').count();
    let begin = before.rfind('\n').map_or(0, |at| at + 1);
    Position {
        line: u32::try_from(line).unwrap_or(u32::MAX),
        character: before[begin..].chars().map(utf16_units).sum(),
    }
}

/// Returns the range of the protocol for bytes of a text.
pub(super) fn range(text: &str, bytes: &Range<usize>) -> LspRange {
    LspRange {
        start: position(text, bytes.start),
        end: position(text, bytes.end),
    }
}

fn utf16_units(character: char) -> u32 {
    if character.len_utf16() == 1 { 1 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_utf16_units() {
        let text = "a🙂b\r\nüx\n";
        for (at, line, character) in [
            (0, 0, 0),
            (1, 0, 1),
            (5, 0, 3),
            (6, 0, 4),
            (8, 1, 0),
            (10, 1, 1),
            (12, 2, 0),
        ] {
            assert_eq!(position(text, at), Position { line, character });
            assert_eq!(offset(text, Position { line, character }), at);
        }
        // Positions that no editor sends.
        assert_eq!(offset(text, Position::new(0, 99)), 6);
        assert_eq!(offset(text, Position::new(99, 0)), text.len());
        assert_eq!(offset(text, Position::new(u32::MAX, u32::MAX)), text.len());
        assert_eq!(offset(text, Position::new(0, 2)), 5);
        assert_eq!(position(text, 999), Position::new(2, 0));
        assert_eq!(position(text, 3), Position::new(0, 1));
    }
}
