//! Text out of bytes that come in pieces: of consoles, processes and files.

/// Decodes UTF-8. A character that the end of a piece cuts waits for the rest, and what is not UTF-8 becomes `�`.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The bytes of a character that has only begun: at most three.
    begun: Vec<u8>,
}

impl Decoder {
    /// Decodes the next piece.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        let mut joined = std::mem::take(&mut self.begun);
        let bytes = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &joined
        };
        let (whole, begun) = bytes.split_at(bytes.len() - unfinished(bytes));
        self.begun.extend_from_slice(begun);
        String::from_utf8_lossy(whole).into_owned()
    }

    /// Decodes what has only begun: nothing follows.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.begun)).into_owned()
    }
}

/// How many bytes at the end begin a character that more bytes may finish: at most three.
#[must_use]
pub fn unfinished(bytes: &[u8]) -> usize {
    let last = &bytes[bytes.len().saturating_sub(3)..];
    let invalid = last
        .utf8_chunks()
        .last()
        .map_or(&[][..], |chunk| chunk.invalid());
    match std::str::from_utf8(invalid) {
        Err(error) if error.error_len().is_none() && bytes.ends_with(invalid) => invalid.len(),
        _ => 0,
    }
}

/// Removes the rest of a character whose begin is missing.
pub fn drop_continuation(bytes: &mut Vec<u8>) {
    let is_rest = |byte: &&u8| matches!(byte, 0x80..=0xBF);
    let rest = bytes.iter().take(3).take_while(is_rest).count();
    bytes.drain(..rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes a text in pieces that end at these places.
    fn in_pieces(bytes: &[u8], cuts: &[usize]) -> String {
        let mut decoder = Decoder::default();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        places.sort_unstable();
        let mut text = String::new();
        let mut from = 0;
        for place in places.into_iter().chain([bytes.len()]) {
            text.push_str(&decoder.push(&bytes[from..place]));
            from = place;
        }
        text + &decoder.finish()
    }

    proptest! {
        #[test]
        fn a_text_is_the_same_wherever_it_is_cut(text: String, cuts: Vec<usize>) {
            prop_assert_eq!(in_pieces(text.as_bytes(), &cuts), text);
        }

        #[test]
        fn bytes_are_the_same_wherever_they_are_cut(bytes: Vec<u8>, cuts: Vec<usize>) {
            prop_assert_eq!(in_pieces(&bytes, &cuts), String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn a_text_without_its_begin_keeps_whole_characters(text: String, cut: usize) {
            let mut bytes = text.as_bytes()[cut % (text.len() + 1)..].to_vec();
            drop_continuation(&mut bytes);
            prop_assert!(text.ends_with(std::str::from_utf8(&bytes).unwrap()));
        }
    }

    #[test]
    fn each_byte_alone_makes_the_same_text() {
        let text = "λ → 🚀\n";
        let cuts: Vec<usize> = (0..text.len()).collect();
        assert_eq!(in_pieces(text.as_bytes(), &cuts), text);
    }
}
