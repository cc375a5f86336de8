//! The difference of two texts, by lines.

use std::time::Duration;

use similar::{ChangeTag, TextDiff};

/// Texts without a line break are shown beside each other up to this many characters.
const SHORT: usize = 60;

/// How long two texts are compared; after that, more of them counts as different.
const LIMIT: Duration = Duration::from_millis(500);

/// How many equal lines are around one that is different.
const CONTEXT: usize = 2;

/// Describes how two texts differ: lines of the left one begin with `-`, lines of the right one with `+`. Returns nothing
/// for short texts, which say it themselves, and for equal ones.
pub(super) fn text_difference(left: &str, right: &str) -> String {
    let is_short = |text: &str| !text.contains('\n') && text.chars().count() <= SHORT;
    if left == right || is_short(left) && is_short(right) {
        return String::new();
    }
    let difference = TextDiff::configure().timeout(LIMIT).diff_lines(left, right);
    let mut lines = vec!["- left, + right".to_owned()];
    for (number, group) in difference.grouped_ops(CONTEXT).iter().enumerate() {
        if number > 0 {
            lines.push("…".to_owned());
        }
        for change in group.iter().flat_map(|part| difference.iter_changes(part)) {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            let end = if change.missing_newline() && difference.newline_terminated() {
                "\\ no line break at the end"
            } else {
                ""
            };
            let line = change.value().trim_end_matches('\n');
            lines.push(format!("{sign} {line}{end}").trim_end().to_owned());
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_differ_are_shown_with_their_neighbours() {
        let lines: Vec<String> = (0..20).map(|number| format!("line {number}\n")).collect();
        let left = lines.concat();
        let right = left.replace("line 3\n", "line three\n");
        assert_eq!(
            text_difference(&left, &right),
            "- left, + right\n  line 1\n  line 2\n- line 3\n+ line three\n  line 4\n  line 5"
        );
        assert_eq!(text_difference("a", "b"), "");
        assert_eq!(text_difference(&left, &left), "");
    }
}
