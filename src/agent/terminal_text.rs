//! The text of one session on the terminal of people, between its marks.

/// Takes the text of one session out of what the terminal of people says: see `terminal.sh`.
///
/// The guest prints a mark before and after it; text before the first mark is of earlier sessions, or an echo. A guest that
/// prints marks of its own only ends its own session.
#[derive(Debug)]
pub struct TerminalText {
    wait: Vec<u8>,
    begin: Vec<u8>,
    end: Vec<u8>,
    has_begun: bool,
    /// Received bytes that may be the beginning of a mark.
    pending: Vec<u8>,
}

/// A part of the text.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TextPart {
    pub text: Vec<u8>,
    /// Whether it waits for a line with its number.
    pub waits: bool,
    /// The exit code of what had the terminal, if it has ended.
    pub ended: Option<u8>,
}

/// The longest number of an exit code, in digits.
const CODE_DIGITS: usize = 3;

impl TerminalText {
    /// The text of the session with a number.
    #[must_use]
    pub fn of(number: u64) -> Self {
        Self {
            wait: format!("[terminal {number} waits]").into_bytes(),
            begin: format!("[terminal {number} begins]").into_bytes(),
            end: format!("[terminal {number} ends ").into_bytes(),
            has_begun: false,
            pending: Vec::new(),
        }
    }

    /// Whether the session has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Takes what has come.
    pub fn take(&mut self, received: &[u8]) -> TextPart {
        self.pending.extend_from_slice(received);
        if !self.has_begun {
            let Some(position) = find(&self.pending, &self.begin) else {
                let waits = find(&self.pending, &self.wait).is_some();
                let keep = self.pending.len().min(self.begin.len());
                self.pending.drain(..self.pending.len() - keep);
                return TextPart {
                    waits,
                    ..TextPart::default()
                };
            };
            self.pending.drain(..position + self.begin.len());
            self.has_begun = true;
        }
        let mut text = Vec::new();
        while let Some(position) = find(&self.pending, &self.end) {
            let rest = &self.pending[position + self.end.len()..];
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == rest.len() && digits <= CODE_DIGITS {
                // The mark is not whole.
                text.extend(self.pending.drain(..position));
                return of_text(text, None);
            }
            if rest.get(digits) == Some(&b']')
                && let Ok(code) = String::from_utf8_lossy(&rest[..digits]).parse()
            {
                text.extend_from_slice(&self.pending[..position]);
                self.pending.clear();
                return of_text(text, Some(code));
            }
            text.extend(self.pending.drain(..position + self.end.len()));
        }
        let keep = overlap(&self.pending, &self.end);
        text.extend(self.pending.drain(..self.pending.len() - keep));
        of_text(text, None)
    }
}

fn of_text(text: Vec<u8>, ended: Option<u8>) -> TextPart {
    TextPart {
        text,
        waits: false,
        ended,
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// How many bytes at the end of a text are the beginning of a mark.
fn overlap(text: &[u8], mark: &[u8]) -> usize {
    let most = text.len().min(mark.len());
    (1..=most)
        .rev()
        .find(|length| text.ends_with(&mark[..*length]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[u8] =
        b"old\r\n[terminal 6 ends 0][terminal 7 waits]7\r\n[terminal 7 begins]hi [terminal 7 ends x] [term[terminal 7 ends 42]more";

    #[test]
    fn the_text_is_between_the_marks_however_it_comes() {
        for length in [1, 2, 3, 7, 30, ALL.len()] {
            let mut session = TerminalText::of(7);
            let mut whole = TextPart::default();
            for chunk in ALL.chunks(length) {
                let part = session.take(chunk);
                whole.text.extend(part.text);
                whole.ended = part.ended;
                if whole.ended.is_some() {
                    break;
                }
            }
            let text = String::from_utf8(whole.text).unwrap();
            assert_eq!(text, "hi [terminal 7 ends x] [term", "{length}");
            assert_eq!(whole.ended, Some(42), "{length}");
        }
    }

    #[test]
    fn text_is_shown_at_once_and_nothing_before_the_beginning_is_kept() {
        let mut session = TerminalText::of(7);
        assert_eq!(session.take(&vec![b'x'; 100_000]), TextPart::default());
        assert!(session.pending.len() < 100 && !session.has_begun());
        assert!(session.take(b"[terminal 7 waits]").waits);
        let part = session.take(b"[terminal 7 begins]root@m:~# ");
        assert_eq!(part.text, b"root@m:~# ");
        let part = session.take(b"[terminal 7 ends 999]");
        assert_eq!(
            (part.text.as_slice(), part.ended),
            (b"[terminal 7 ends 999]".as_slice(), None)
        );
    }
}
