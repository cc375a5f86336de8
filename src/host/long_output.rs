//! Output that is too long to be shown whole.

/// Output beyond this many bytes or lines is cut in the middle; the whole is saved.
const LONGEST_OUTPUT: usize = 4000;
const MOST_LINES: usize = 40;

/// Whether it is.
pub(super) fn is_long(text: &str) -> bool {
    text.len() > LONGEST_OUTPUT || text.lines().count() > MOST_LINES
}

/// Long output without its middle: whole lines if they are short enough.
pub(super) fn cut(text: &str, whole: &str) -> String {
    let head: String = part(text.split_inclusive('\n')).into_iter().collect();
    let mut tail = part(text[head.len()..].split_inclusive('\n').rev());
    tail.reverse();
    let (head, tail) = if head.is_empty() || tail.is_empty() {
        let middle = text.floor_char_boundary(LONGEST_OUTPUT / 2);
        let end = text.floor_char_boundary(text.len() - LONGEST_OUTPUT / 2);
        (format!("{}\n", &text[..middle]), text[end..].to_owned())
    } else {
        (head, tail.concat())
    };
    let left_out = text.len().saturating_sub(head.len() + tail.len());
    format!("{head}[… {left_out} bytes; the whole is in {whole} …]\n{tail}")
}

/// As many lines as half of what is shown may have.
fn part<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut bytes = 0;
    lines
        .take(MOST_LINES / 2)
        .take_while(|line| {
            bytes += line.len();
            bytes <= LONGEST_OUTPUT / 2
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_output_is_cut_in_the_middle() {
        let text = format!("begin{}é{}end", "x".repeat(1994), "y".repeat(5000));
        let cut = cut(&text, "FILE");
        assert!(cut.starts_with("begin") && cut.ends_with("end"), "{cut}");
        assert!(cut.contains("the whole is in FILE") && cut.len() < LONGEST_OUTPUT + 100);
    }

    #[test]
    fn many_lines_are_cut_between_them() {
        let lines: Vec<String> = (1..=100).map(|number| format!("line {number}")).collect();
        let text = lines.join("\n") + "\n";
        let cut = super::cut(&text, "FILE");
        assert!(
            cut.starts_with("line 1\n") && cut.ends_with("line 100\n"),
            "{cut}"
        );
        assert!(
            cut.contains("\nline 20\n[… ") && cut.contains(" …]\nline 81\n"),
            "{cut}"
        );
    }
}
