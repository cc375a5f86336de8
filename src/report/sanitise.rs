//! Text from guests as it may reach a terminal or a report.
//!
//! A guest writes what it wants to its console, and names its processes and
//! units as it wants. Sequences that move the cursor, set titles or the
//! clipboard are removed, and control characters become their symbols.

use std::fmt::Write;

use anstyle_parse::{DefaultCharAccumulator, Params, Parser, Perform};

use super::Colours;

/// Ends all colours.
const RESET: &str = "\x1b[0m";

/// The symbols of the control characters 0 to 31, in Unicode.
const SYMBOLS: u32 = 0x2400;

/// The text without what a terminal would obey, but for line ends, tabs and,
/// if wanted, colours. No colour lasts beyond the end of its line.
#[must_use]
pub fn sanitise(text: &str, colours: Colours) -> String {
    let is_plain = |c: char| !is_obeyed(c) || matches!(c, '\n' | '\t');
    if text.chars().all(is_plain) {
        return text.to_owned();
    }
    let mut clean = String::with_capacity(text.len());
    // A sequence that does not end hides no other line.
    for line in text.split_inclusive('\n') {
        let (line, end) = match line.strip_suffix('\n') {
            Some(line) => (line.strip_suffix('\r').unwrap_or(line), "\n"),
            None => (line.trim_end_matches('\r'), ""),
        };
        let mut cleaner = Cleaner {
            colours,
            clean: String::with_capacity(line.len()),
            coloured: false,
        };
        let mut parser = Parser::<DefaultCharAccumulator>::new();
        for byte in line.bytes() {
            parser.advance(&mut cleaner, byte);
        }
        if cleaner.coloured {
            cleaner.clean.push_str(RESET);
        }
        clean.push_str(&cleaner.clean);
        clean.push_str(end);
    }
    clean
}

/// Removes colours, too, as XML and pages need it; the caller escapes the rest.
pub(super) fn plain(text: &str) -> String {
    sanitise(text, Colours::Off)
}

/// Whether a terminal does something else with it than to show it.
fn is_obeyed(c: char) -> bool {
    // Marks by which a line is shown in another order than it is read.
    let reorders = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    // No text, and XML must not have them.
    let is_none = matches!(c, '\u{fffe}' | '\u{ffff}');
    c.is_control() || reorders || is_none
}

struct Cleaner {
    colours: Colours,
    clean: String,
    /// Whether a colour is on.
    coloured: bool,
}

impl Perform for Cleaner {
    fn print(&mut self, c: char) {
        self.clean.push(match c {
            '\t' => c,
            '\u{7f}' => '\u{2421}',
            c if (c as u32) < 0x20 => char::from_u32(SYMBOLS + c as u32).unwrap_or('\u{fffd}'),
            c if is_obeyed(c) => '\u{fffd}',
            c => c,
        });
    }

    fn execute(&mut self, byte: u8) {
        self.print(char::from(byte));
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: u8) {
        let is_colour = action == b'm' && intermediates.is_empty() && !ignore;
        if !is_colour || self.colours == Colours::Off {
            return;
        }
        let numbers: Vec<String> = params
            .iter()
            .map(|part| {
                let numbers: Vec<String> = part.iter().map(u16::to_string).collect();
                numbers.join(":")
            })
            .collect();
        self.coloured = numbers.iter().any(|number| number != "0");
        let _ = write!(self.clean, "\x1b[{}m", numbers.join(";"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_colours_reach_a_terminal() {
        for (hostile, shown) in [
            ("plain é\n\ttext\n", "plain é\n\ttext\n"),
            ("a\x1b]52;c;ZXZpbA==\x07b", "ab"),
            ("a\x1b]0;title\x1b\\b", "ab"),
            ("a\x1b[2J\x1b[Hb\x1b[1;1fc\x1b[6n", "abc"),
            ("a\x1bP+q544e\x1b\\b", "ab"),
            ("a\u{9b}2Jb", "a\u{fffd}2Jb"),
            ("a\u{fffe}\u{ffff}b", "a\u{fffd}\u{fffd}b"),
            ("passed\rfailed", "passed␍failed"),
            ("ab\x08\x08cd\x07", "ab␈␈cd␇"),
            ("one\r\ntwo\r", "one\ntwo"),
            ("nothing\x7f\0", "nothing␡␀"),
            ("a\x1bcb\x1b(0c", "abc"),
            ("\u{202e}txet", "\u{fffd}txet"),
            // It does not end, and hides nothing but its own line.
            ("a\x1b]52;c;x\nb", "a\nb"),
            ("\x1b[31mred\x1b[0m and \x1b[1;38;5;4mblue", "red and blue"),
            ("\x1b[?2004hprompt\x1b[K", "prompt"),
        ] {
            assert_eq!(sanitise(hostile, Colours::Off), shown, "{hostile:?}");
        }
    }

    #[test]
    fn colours_may_pass_and_end_with_their_line() {
        assert_eq!(
            sanitise("\x1b[31mred\nplain\x1b[2J\x1b[1;4mb\x1b[m", Colours::On),
            "\x1b[31mred\x1b[0m\nplain\x1b[1;4mb\x1b[0m"
        );
    }
}
