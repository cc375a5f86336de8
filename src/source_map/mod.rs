//! The source map of a script: from a position in the text that runs to file, line and column.
//!
//! The script is known as evaluated. Every string of the test's files that it
//! may come from is taken as a template (text between antiquotations), and the
//! one that the evaluated text fits is where it comes from: what is found is
//! proved by the text itself.

mod candidates;
mod expressions;
mod node_edit;
mod nodes;
mod open_script;
mod script_edit;
mod sole_script;
mod strings;
mod template;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use candidates::scripts;
pub use node_edit::{asks_for_nodes, edited_node};
pub use nodes::{NodePlace, node_places};
pub use open_script::{EvaluatedText, OpenScript, open_scripts};
pub use script_edit::{ScriptEdit, may_be_script, only_defines_scripts};
use template::Map;
pub use template::{Segment, SourceFile};

use serde::{Deserialize, Serialize};

use crate::model::event::{Excerpt, Position, SourceLine};

/// How many lines an excerpt may span before only its first is shown.
const LONGEST_SPAN: usize = 8;

/// Where a script comes from, as far as its caller knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScriptOrigin {
    /// A test's file, and the attribute path of the test in it.
    Test {
        file: PathBuf,
        attribute: String,
    },
    /// A file that is the script.
    File(PathBuf),
    Unknown,
}

/// A script's text, and where it comes from. Serialised without the map, which is made again.
#[derive(Debug, Serialize, Deserialize)]
#[serde(from = "ScriptText")]
pub struct SourceMap {
    script: String,
    origin: ScriptOrigin,
    #[serde(skip)]
    map: OnceLock<Option<Map>>,
}

/// A source map as it is serialised.
#[derive(Deserialize)]
struct ScriptText {
    script: String,
    origin: ScriptOrigin,
}

impl From<ScriptText> for SourceMap {
    fn from(text: ScriptText) -> Self {
        Self::new(text.script, text.origin)
    }
}

impl SourceMap {
    /// A script of this origin. The place of a test's script is looked for when it is asked for.
    #[must_use]
    pub fn new(script: String, origin: ScriptOrigin) -> Self {
        let map = match &origin {
            ScriptOrigin::Test { .. } => OnceLock::new(),
            ScriptOrigin::File(file) => OnceLock::from(Some(Map::whole_file(file, &script))),
            ScriptOrigin::Unknown => OnceLock::from(None),
        };
        Self {
            script,
            origin,
            map,
        }
    }

    /// A script of a test.
    #[must_use]
    pub fn of_test(script: String, file: &Path, attribute: &str) -> Self {
        let (file, attribute) = (file.to_owned(), attribute.to_owned());
        Self::new(script, ScriptOrigin::Test { file, attribute })
    }

    /// A script that is a file of its own.
    #[must_use]
    pub fn of_file(script: String, file: &Path) -> Self {
        Self::new(script, ScriptOrigin::File(file.to_owned()))
    }

    /// A script without a file.
    #[must_use]
    pub fn of_text(script: String) -> Self {
        Self::new(script, ScriptOrigin::Unknown)
    }

    #[must_use]
    pub fn origin(&self) -> &ScriptOrigin {
        &self.origin
    }

    #[must_use]
    pub fn script(&self) -> &str {
        &self.script
    }

    /// Returns the files that the script comes from.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.map().map(Map::files).unwrap_or_default()
    }

    /// The text at these bytes of the script, in the file it comes from, or
    /// in the script itself if the file is not found.
    #[must_use]
    pub fn excerpt(&self, range: Range<usize>) -> Excerpt {
        match self.map().and_then(|map| map.locate(&range)) {
            Some((file, range)) => excerpt(Some(&file.path), &file.text, &range),
            None => excerpt(None, &self.script, &range),
        }
    }

    /// The lines of the script, with the places that they come from.
    #[must_use]
    pub fn lines(&self) -> Vec<SourceLine> {
        let mut start = 0;
        let lines = self.script.split_inclusive('\n').map(|line| {
            let text = line.trim_end();
            // The indentation may be that of a string of Nix, which is not in the file like this.
            let from = start + line.len() - line.trim_start().len();
            let end = start + text.len();
            start += line.len();
            let place = self.map().and_then(|map| map.locate(&(from.min(end)..end)));
            SourceLine {
                text: text.to_owned(),
                file: place.as_ref().map(|(file, _)| file.path.clone()),
                file_line: place.map(|(file, range)| line_of(&file.text, range.start) + 1),
            }
        });
        lines.collect()
    }

    /// The byte offset of a line and a column of the script, both from 1, the
    /// column in bytes.
    #[must_use]
    pub fn offset(&self, line: usize, column: usize) -> usize {
        let mut begin = 0;
        for (number, text) in self.script.split_inclusive('\n').enumerate() {
            if number + 1 == line {
                return begin + (column.saturating_sub(1)).min(text.len());
            }
            begin += text.len();
        }
        self.script.len()
    }

    fn map(&self) -> Option<&Map> {
        let find = || {
            let ScriptOrigin::Test { file, attribute } = &self.origin else {
                return None;
            };
            let attribute: Vec<String> = attribute.split('.').map(str::to_owned).collect();
            candidates::find(&self.script, file, &attribute)
        };
        self.map.get_or_init(find).as_ref()
    }
}

/// The lines around a range of a text.
fn excerpt(file: Option<&Path>, text: &str, range: &Range<usize>) -> Excerpt {
    let start = text.floor_char_boundary(range.start);
    let end = text.floor_char_boundary(range.end).max(start);
    let first = line_of(text, start);
    let (mut last, mut end) = (line_of(text, end), end);
    if last - first >= LONGEST_SPAN {
        last = first;
        end = start + text[start..].find('\n').unwrap_or(text.len() - start);
    }
    // A line before it names the place.
    let shown_first = first.saturating_sub(1);
    let lines = text
        .split('\n')
        .skip(shown_first)
        .take(last - shown_first + 1)
        .map(|line| line.trim_end_matches('\r').to_owned())
        .collect();
    Excerpt {
        file: file.map(Path::to_owned),
        start: position(text, start),
        end: position(text, end),
        first_line: shown_first + 1,
        lines,
    }
}

/// The line of an offset, from 0.
fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count()
}

fn position(text: &str, offset: usize) -> Position {
    let begin = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
    Position {
        line: line_of(text, offset) + 1,
        column: text[begin..offset].chars().count() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files of a test, the first one the test's own.
    fn source_map(
        files: &[(&str, &str)],
        attribute: &str,
        script: &str,
    ) -> (tempfile::TempDir, SourceMap) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let file = folder.path().join(files[0].0);
        (
            folder,
            SourceMap::of_test(script.to_owned(), &file, attribute),
        )
    }

    /// `file:line:column-line:column` of what is marked in the script by its text.
    fn place(source_map: &SourceMap, marked: &str) -> String {
        let begin = source_map.script().find(marked).unwrap();
        let excerpt = source_map.excerpt(begin..begin + marked.len());
        let name = excerpt.file.as_ref().map_or("script".into(), |file| {
            file.file_name().unwrap().to_string_lossy()
        });
        let (start, end) = (excerpt.start, excerpt.end);
        format!(
            "{name}:{}:{}-{}:{}",
            start.line, start.column, end.line, end.column
        )
    }

    #[test]
    fn indented_strings() {
        let file = "{ x }:\n{\n  testScript = ''\n    start_all()\n      é = 1\n    print(\"a\", ''${b})\n  '';\n}\n";
        let script = "start_all()\n  é = 1\nprint(\"a\", ${b})\n";
        let (_folder, source_map) = source_map(&[("t.nix", file)], "", script);
        assert_eq!(place(&source_map, "start_all()"), "t.nix:4:5-4:16");
        assert_eq!(place(&source_map, "= 1"), "t.nix:5:9-5:12");
        assert_eq!(place(&source_map, "{b}"), "t.nix:6:19-6:22");
        let excerpt = source_map.excerpt(0..5);
        assert_eq!(excerpt.lines, ["  testScript = ''", "    start_all()"]);
        assert_eq!(excerpt.first_line, 3);
    }

    #[test]
    fn antiquotations_and_what_they_stand_for() {
        let file = "let\n  helper = ''\n    def f():\n      return 1\n  '';\nin\n{ name = \"x\"; testScript = { nodes, ... }: helper + ''\n  f(${toString 80}, ${nodes.a})\n  g()\n''; }\n";
        let script = "def f():\n  return 1\nf(80, many\nlines)\ng()\n";
        let (_folder, source_map) = source_map(&[("t.nix", file)], "", script);
        assert_eq!(place(&source_map, "return 1"), "t.nix:4:7-4:15");
        assert_eq!(place(&source_map, "80"), "t.nix:8:5-8:19");
        assert_eq!(place(&source_map, "lines"), "t.nix:8:21-8:31");
        assert_eq!(place(&source_map, "g()"), "t.nix:9:3-9:6");
    }

    #[test]
    fn quoted_strings_with_escapes() {
        let file = r#"{ testScript = "a(\"x\")\nb(\t1)\n"; }"#;
        let (_folder, source_map) = source_map(&[("t.nix", file)], "", "a(\"x\")\nb(\t1)\n");
        assert_eq!(place(&source_map, "b("), "t.nix:1:27-1:29");
        assert_eq!(place(&source_map, "1)"), "t.nix:1:31-1:33");
    }

    #[test]
    fn scripts_in_files_of_their_own() {
        let test = "import ./make.nix { testScript = builtins.readFile ./script.py; }";
        let script = "start_all()\nfoo()\n";
        let (_folder, source_map) =
            source_map(&[("t.nix", test), ("script.py", script)], "", script);
        assert_eq!(place(&source_map, "foo()"), "script.py:2:1-2:6");
    }

    #[test]
    fn tests_in_imported_files_and_functions() {
        let all = "{ a = import ./a.nix { }; b = runTest ./b.nix; }";
        let b =
            "{ lib, ... }: let make = n: ''\n  x = ${n}\n  y()\n''; in { testScript = make 5; }";
        let files = [
            ("t.nix", all),
            ("a.nix", "{ testScript = ''no''; }"),
            ("b.nix", b),
        ];
        let (_folder, source_map) = source_map(&files, "b", "x = 5\ny()\n");
        assert_eq!(place(&source_map, "y()"), "b.nix:3:3-3:6");
    }

    #[test]
    fn of_equal_scripts_the_attributes() {
        let file =
            "{\n  a = test { testScript = \"x()\"; };\n  b = test { testScript = \"x()\"; };\n}";
        let (_folder, source_map) = source_map(&[("t.nix", file)], "b", "x()");
        assert_eq!(place(&source_map, "x()"), "t.nix:3:28-3:31");
    }

    #[test]
    fn scripts_that_are_arguments() {
        let file = "let test = name: script: make { testScript = script; }; in\n{ a = test \"a\" ''\n  one_long_call()\n''; }";
        let (_folder, source_map) = source_map(&[("t.nix", file)], "a", "one_long_call()\n");
        assert_eq!(place(&source_map, "one_long_call"), "t.nix:3:3-3:16");
    }

    #[test]
    fn optional_parts_are_told_apart() {
        let file = "let opt = lib.optionalString; in { testScript = ''\n  a()\n  ${opt x ''\n    one()\n    two()\n  ''}\n  ${opt y ''\n    never()\n  ''}\n  ${opt x ''\n    three()\n  ''}\n  end()\n''; }";
        let script = "a()\none()\ntwo()\n\n\nthree()\n\nend()\n";
        let (_folder, source_map) = source_map(&[("t.nix", file)], "", script);
        assert_eq!(place(&source_map, "two()"), "t.nix:5:5-5:10");
        assert_eq!(place(&source_map, "three()"), "t.nix:11:5-11:12");
        assert_eq!(place(&source_map, "end()"), "t.nix:13:3-13:8");
    }

    #[test]
    fn what_may_come_from_either_place_is_shown_itself() {
        let file = "{ testScript = ''\n  a()\n  ${gen 1}\n  ${gen 2}\n  end()\n''; }";
        let script = "a()\none()\ntwo()\nthree()\nend()\n";
        let (_folder, source_map) = source_map(&[("t.nix", file)], "", script);
        assert_eq!(place(&source_map, "a()"), "t.nix:2:3-2:6");
        assert_eq!(place(&source_map, "two()"), "script:3:1-3:6");
        assert_eq!(place(&source_map, "end()"), "t.nix:5:3-5:8");
    }

    #[test]
    fn other_strings_are_not_taken_for_the_script() {
        let file = "{ note = ''\n  ${toString 3}\n''; testScript = concat [ \"a\" \"b\" ]; }";
        let (_folder, source_map) = source_map(&[("t.nix", file)], "", "some_script()\n");
        assert_eq!(place(&source_map, "some_script"), "script:1:1-1:12");
    }

    #[test]
    fn arguments_that_become_the_script() {
        let test = "let t = name: s: make { testScript = s; }; in { a = t \"a\" (builtins.readFile ./s.py); b = t \"b\" (\"one()\\n\" + ''\n  two()\n''); }";
        let files = [("t.nix", test), ("s.py", "start_all()\nfoo()\n")];
        let (_first, a) = source_map(&files, "a", "start_all()\nfoo()\n");
        assert_eq!(place(&a, "foo()"), "s.py:2:1-2:6");
        let (_second, b) = source_map(&files, "b", "one()\ntwo()\n");
        assert_eq!(place(&b, "two()"), "t.nix:2:3-2:8");
    }

    #[test]
    fn names_that_stand_for_themselves_over_and_over_end() {
        let bad = format!("bad = \"{}\";", "${bad} ".repeat(10));
        let file = format!("let {bad} in {{ testScript = \"x()\\n\"; }}");
        let (_folder, source_map) = source_map(&[("t.nix", &file)], "", "x()\n");
        assert!(place(&source_map, "x()").starts_with("t.nix:1:"));
    }

    #[test]
    fn what_is_computed_is_shown_itself() {
        let file = "{ testScript = builtins.concatStringsSep \"\" [ \"a\" \"()\" ]; }";
        let (_folder, source_map) = source_map(&[("t.nix", file)], "", "a()");
        assert_eq!(place(&source_map, "a()"), "script:1:1-1:4");
    }
}
