//! Output of Nix beside an answer: the files that it reads, warnings of the Nix code, and errors without the parts that
//! only concern this program.

use std::path::Path;

use super::reads::{evaluated_file, is_report};

/// The test that is evaluated from this line on, where a file has several.
fn evaluated_test(line: &str) -> Option<&str> {
    line.strip_prefix("trace: snowglobe: evaluating ")
}

/// An error of the evaluation, with the test that it comes from where the file
/// has several.
pub(super) fn describe_error(message: &str, library: &Path) -> String {
    let reason = trim_message(message, library);
    match message.lines().rev().find_map(evaluated_test) {
        None => reason,
        // Steps that led to the error stand on lines of their own.
        Some(test) if is_step(&reason) => {
            format!("the test `{test}` does not evaluate:\n\n{reason}")
        }
        Some(test) => format!("the test `{test}` does not evaluate: {reason}"),
    }
}

/// Splits the output of the Nix code itself (`builtins.trace`, `lib.warn`) from the rest of a message.
pub(super) fn split_warnings(message: &str) -> (String, String) {
    let (mut warnings, mut rest) = (String::new(), String::new());
    // The error is the last that is said, and may quote anything.
    let (mut in_warning, mut failed) = (false, false);
    for line in message.lines() {
        failed |= line.starts_with("error:");
        in_warning = !failed && !is_noise(line) && (is_remark(line) || in_warning);
        let part = if in_warning { &mut warnings } else { &mut rest };
        part.push_str(line);
        part.push('\n');
    }
    (warnings, rest)
}

/// A line that begins a warning; further lines may belong to it.
fn is_remark(line: &str) -> bool {
    ["trace: ", "warning: ", "evaluation warning: "]
        .iter()
        .any(|mark| line.starts_with(mark))
}

/// Nix's message without what only concerns this program: where in its own
/// library the evaluation was, the word that marks its own messages, and
/// warnings about the machine's set-up. Before 2.20 the steps that led to an
/// error follow it, since then they go before it.
fn trim_message(message: &str, library: &Path) -> String {
    let own = library.to_string_lossy();
    let mut items: Vec<Vec<&str>> = vec![Vec::new()];
    // What comes before is about the way there, such as sources that were fetched.
    let error = message.lines().position(|line| line.starts_with("error:"));
    let lines = message.lines().skip(error.unwrap_or_default());
    for line in lines.filter(|line| !is_noise(line)) {
        if is_step(line) || line.trim_start().starts_with("error:") {
            items.push(Vec::new());
        }
        if let Some(item) = items.last_mut() {
            item.push(line);
        }
    }
    let kept: Vec<String> = items
        .iter()
        .filter_map(|item| trim_item(item, &own))
        .collect();
    kept.join("\n\n")
        .replace("error: snowglobe: ", "error: ")
        .trim()
        .trim_start_matches("error: ")
        .to_owned()
}

/// An error, or a step that led to one, without its place in the library;
/// None if nothing is left.
fn trim_item(item: &[&str], own: &str) -> Option<String> {
    let is_own = |line: &str| line.contains(own);
    if item.first().is_some_and(|line| is_step(line)) && item.iter().any(|line| is_own(line)) {
        return None;
    }
    let mut hiding = false;
    let mut kept = Vec::new();
    for line in item {
        // It shows the source that the line before it names.
        hiding = is_own(line) || hiding && is_excerpt(line);
        if !hiding {
            kept.push(*line);
        }
    }
    let text = kept.join("\n").trim().to_owned();
    (text != "error:" && !text.is_empty()).then_some(text)
}

/// A line such as `… while evaluating the attribute 'x'`.
fn is_step(line: &str) -> bool {
    line.trim_start().starts_with('…')
}

/// A line such as `   12|   foo = bar;`, the marks below one, or an empty one.
fn is_excerpt(line: &str) -> bool {
    let rest = line
        .trim_start()
        .trim_start_matches(|c: char| c.is_ascii_digit());
    rest.trim_start().starts_with('|') || rest.is_empty()
}

/// Beginnings of the lines that Nix prints for `-v` and `-vv`.
const VERBOSE: [&str; 8] = [
    "instantiated '",
    "copied source '",
    "hashing '",
    "querying info about",
    "acquiring ",
    "lock acquired on",
    "checking ",
    "using cache entry",
];

fn is_noise(line: &str) -> bool {
    evaluated_file(line).is_some()
        || is_report(line)
        || VERBOSE.iter().any(|begin| line.starts_with(begin))
        || evaluated_test(line).is_some()
        || line.starts_with("(use '--show-trace'")
        || line.starts_with("warning: the group 'nixbld'")
        || line.starts_with("warning: unknown setting")
        || line.starts_with("copying '")
        || line.starts_with("building '")
        || line.starts_with("downloading '")
        // The last try is the error.
        || line.starts_with("warning: error: unable to download")
        // Several processes evaluate at a time: Nix waits, and tries again.
        || line.starts_with("warning: error: SQLite database") && line.ends_with("is busy")
        || line.starts_with("GC Warning")
        || line.trim_start().starts_with("(stack trace truncated")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_lose_what_led_there() {
        let library = Path::new("/cache/lib");
        let message = "using revision 427bf4bd of repo '/x'\nerror: attribute 'y' missing\n";
        assert_eq!(trim_message(message, library), "attribute 'y' missing");
        assert_eq!(trim_message("only words\n", library), "only words");
        assert_eq!(trim_message("", library), "");
    }

    #[test]
    fn messages_lose_what_is_ours() {
        let message = "error: snowglobe: there is no attribute `x`\n\n       at /cache/lib/load.nix:7:1:\n\n            7|   throw\n             |   ^\n(use '--show-trace' to show detailed location information)\n";
        assert_eq!(
            trim_message(message, Path::new("/cache/lib")),
            "there is no attribute `x`"
        );
    }

    #[test]
    fn steps_before_an_error_are_trimmed_as_those_after_it() {
        let message = "error:\n       … while calling the 'map' builtin\n         at /cache/lib/default.nix:41:1:\n           40| in\n           41| map present tests\n             | ^\n\n       … while evaluating the option `nodes`\n         at /home/t.nix:3:5:\n            3|   x\n             |   ^\n\n       (stack trace truncated; use '--show-trace' to show the full, detailed trace)\n\n       error: there is no attribute `x`\n";
        assert_eq!(
            trim_message(message, Path::new("/cache/lib")),
            "… while evaluating the option `nodes`\n         at /home/t.nix:3:5:\n            3|   x\n             |   ^\n\nerror: there is no attribute `x`"
        );
    }

    #[test]
    fn remarks_are_told_apart_from_files_and_errors() {
        let message = "evaluating file '/home/t.nix'\ntrace: one\n  more\nevaluating file '/a.nix'\nwarning: unknown setting 'x'\nwarning: error: SQLite database '/nix/var/nix/db/db.sqlite' is busy\nevaluation warning: two\nerror: three\ntrace: four\n";
        let (warnings, rest) = split_warnings(message);
        assert_eq!(warnings, "trace: one\n  more\nevaluation warning: two\n");
        assert_eq!(
            trim_message(&rest, Path::new("/cache/lib")),
            "three\ntrace: four"
        );
    }

    #[test]
    fn errors_are_told_with_the_test_that_they_come_from() {
        let message = "trace: snowglobe: evaluating a\ntrace: snowglobe: evaluating b.c\nevaluating file '/t.nix'\nerror: oh no\n";
        let (warnings, rest) = split_warnings(message);
        assert_eq!(warnings, "");
        assert_eq!(
            describe_error(&rest, Path::new("/cache/lib")),
            "the test `b.c` does not evaluate: oh no"
        );
    }

    #[test]
    fn messages_keep_what_is_the_users() {
        let message = "error: syntax error, unexpected '}'\n\n       at /home/t.nix:3:5:\n\n            2|   a = 1\n            3| }\n             | ^\n";
        let trimmed = trim_message(message, Path::new("/cache/lib"));
        assert!(trimmed.starts_with("syntax error"), "{trimmed}");
        assert!(trimmed.contains("/home/t.nix:3:5"), "{trimmed}");
        assert!(trimmed.contains("3| }"), "{trimmed}");
    }
}
