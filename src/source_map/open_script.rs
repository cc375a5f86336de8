//! The scripts in the text of a Nix file that is being written, and may not evaluate.
//!
//! The values of antiquotations come from the last evaluation of the file, if it had the same expressions. A name of
//! unknown type stands for all others.

use std::collections::HashMap;
use std::ops::Range;

use rnix::ast;
use rowan::ast::AstNode;

use super::script_edit::{ScriptLiteral, texts};
use super::sole_script::{SCRIPT, is_sole_script, key};
use super::strings::{Part, parts};

/// A name that each script has, of a type that is not known.
const UNKNOWN: &str = "__name__";

/// A file as it was evaluated last, and the scripts of its tests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EvaluatedText {
    pub nix: String,
    pub scripts: Vec<String>,
}

/// A script, and where each part of it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenScript {
    pub text: String,
    /// Bytes of the script whose text is not known.
    pub gaps: Vec<Range<usize>>,
    /// Bytes of the literal in the file.
    pub literal: Range<usize>,
    /// The positions of the evaluated scripts that the literal is a part of.
    pub evaluated: Vec<usize>,
    pieces: Vec<OpenPiece>,
}

/// A part of a script that is written in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OpenPiece {
    script: Range<usize>,
    source: Range<usize>,
    is_computed: bool,
}

/// The computed text of scripts, from an evaluation.
#[derive(Debug, Default)]
struct ComputedText<'a> {
    /// By the antiquotations as they are written.
    values: HashMap<String, &'a str>,
    /// For each literal of the file, in their order.
    around: Vec<AroundLiteral<'a>>,
}

/// The text of scripts around a literal.
#[derive(Debug, Clone, Default)]
struct AroundLiteral<'a> {
    before: &'a str,
    after: &'a str,
    scripts: Vec<usize>,
}

impl OpenScript {
    /// A script that is a file of its own.
    #[must_use]
    pub fn of_file(text: &str) -> Self {
        let whole = 0..text.len();
        Self {
            text: text.to_owned(),
            gaps: Vec::new(),
            literal: whole.clone(),
            evaluated: Vec::new(),
            pieces: vec![OpenPiece {
                script: whole.clone(),
                source: whole,
                is_computed: false,
            }],
        }
    }

    /// Returns the bytes of the file where a range of the script is written; `None` if it is in no text of the file.
    #[must_use]
    pub fn in_file(&self, range: &Range<usize>) -> Option<Range<usize>> {
        let first = self.piece(range.start)?;
        let last = self
            .piece(range.end.max(range.start + 1) - 1)
            .unwrap_or(first);
        let start = if first.is_computed {
            first.source.start
        } else {
            first.source.start + (range.start - first.script.start)
        };
        let end = if last.is_computed {
            last.source.end
        } else {
            last.source.start + (range.end.min(last.script.end) - last.script.start)
        };
        Some(start..end.max(start))
    }

    fn piece(&self, offset: usize) -> Option<&OpenPiece> {
        let holds = |piece: &&OpenPiece| piece.script.contains(&offset);
        let at_end = |piece: &&OpenPiece| piece.script.end == offset;
        let mut pieces = self.pieces.iter();
        pieces
            .find(holds)
            .or_else(|| self.pieces.iter().rev().find(at_end))
    }

    /// Returns the position in the script of one in the file; `None` if that is not in the script's text.
    #[must_use]
    pub fn in_script(&self, offset: usize) -> Option<usize> {
        if !(self.literal.start..=self.literal.end).contains(&offset) {
            return None;
        }
        let written = || self.pieces.iter().filter(|piece| !piece.is_computed);
        let holds = |piece: &&OpenPiece| piece.source.start <= offset && offset < piece.source.end;
        let ends = |piece: &&OpenPiece| piece.source.end == offset;
        if let Some(piece) = written().find(holds).or_else(|| written().find(ends)) {
            return Some(piece.script.start + (offset - piece.source.start));
        }
        let mut computed = self.pieces.iter().filter(|piece| piece.is_computed);
        if computed.any(|piece| piece.source.contains(&offset)) {
            return None;
        }
        // In the indentation, which is not in the script.
        let next = self
            .pieces
            .iter()
            .find(|piece| piece.source.start >= offset);
        next.map(|piece| piece.script.start)
            .or(Some(self.text.len()))
    }
}

/// Returns the scripts of a Nix text. It may have errors.
#[must_use]
pub fn open_scripts(nix: &str, evaluated: &EvaluatedText) -> Vec<OpenScript> {
    let computed = ComputedText::of(evaluated);
    let literals = literals(nix).into_iter().enumerate();
    literals
        .map(|(number, literal)| computed.complete(&literal, number))
        .collect()
}

/// The literals that are scripts, or parts of some.
fn literals(nix: &str) -> Vec<ast::Str> {
    let root = rnix::Root::parse(nix).syntax();
    let strings = root.descendants().filter_map(ast::Str::cast);
    strings
        .filter(|literal| is_of_script(literal) || is_sole_script(literal))
        .collect()
}

/// Whether a literal is written in the value of `testScript`, and in no other literal.
fn is_of_script(literal: &ast::Str) -> bool {
    let mut ancestors = literal.syntax().ancestors().skip(1);
    let holder = ancestors.find(|node| {
        ast::AttrpathValue::can_cast(node.kind())
            || ast::Str::can_cast(node.kind())
            || ast::Attrpath::can_cast(node.kind())
    });
    holder
        .and_then(ast::AttrpathValue::cast)
        .and_then(|definition| key(&definition))
        .is_some_and(|name| name == SCRIPT)
}

impl<'a> ComputedText<'a> {
    fn of(evaluated: &'a EvaluatedText) -> Self {
        let mut computed = Self::default();
        for literal in literals(&evaluated.nix) {
            let around = computed.around_of(&literal, &evaluated.scripts);
            computed.around.push(around.unwrap_or_default());
        }
        computed
    }

    /// Finds a literal in the evaluated scripts, and takes what is computed in it from there.
    fn around_of(
        &mut self,
        literal: &ast::Str,
        scripts: &'a [String],
    ) -> Option<AroundLiteral<'a>> {
        let parts = ScriptLiteral::of(literal)?;
        let (_, written) = texts(literal)?;
        let mut around = AroundLiteral::default();
        for (number, script) in scripts.iter().enumerate() {
            let Some(place) = parts.place(script) else {
                continue;
            };
            let values = written.iter().cloned().zip(place.values);
            self.values.extend(values);
            around.before = &script[..place.begin];
            around.after = &script[place.end..];
            around.scripts.push(number);
        }
        Some(around)
    }

    fn complete(&self, literal: &ast::Str, number: usize) -> OpenScript {
        let range = literal.syntax().text_range();
        let mut script = OpenScript {
            text: String::new(),
            gaps: Vec::new(),
            literal: range.start().into()..range.end().into(),
            evaluated: Vec::new(),
            pieces: Vec::new(),
        };
        let around = self.around.get(number).cloned().unwrap_or_default();
        script.evaluated = around.scripts;
        script.text.push_str(around.before);
        // Antiquotations side by side have one value.
        let mut side_by_side: Option<(String, Range<usize>)> = None;
        for part in parts(literal) {
            match part {
                Part::Antiquotation(written, source) => {
                    let written = written.syntax().text().to_string();
                    match &mut side_by_side {
                        Some((before, range)) => {
                            before.push_str(&written);
                            range.end = source.end;
                        }
                        None => side_by_side = Some((written, source)),
                    }
                }
                Part::Text(text, runs) => {
                    if !text.is_empty() {
                        self.fill(&mut script, side_by_side.take());
                    }
                    script.add_text(&text, &runs);
                }
            }
        }
        self.fill(&mut script, side_by_side);
        script.text.push_str(around.after);
        script
    }

    fn fill(&self, script: &mut OpenScript, gap: Option<(String, Range<usize>)>) {
        let Some((written, source)) = gap else {
            return;
        };
        let begin = script.text.len();
        let value = self.values.get(&written).copied();
        script.text.push_str(value.unwrap_or(UNKNOWN));
        let filled = begin..script.text.len();
        if value.is_none() {
            script.gaps.push(filled.clone());
        }
        script.pieces.push(OpenPiece {
            script: filled,
            source,
            is_computed: true,
        });
    }
}

impl OpenScript {
    fn add_text(&mut self, text: &str, runs: &[(usize, usize)]) {
        let begin = self.text.len();
        for (number, (start, source)) in runs.iter().enumerate() {
            let end = runs.get(number + 1).map_or(text.len(), |(next, _)| *next);
            self.pieces.push(OpenPiece {
                script: begin + start..begin + end,
                source: *source..source + (end - start),
                is_computed: false,
            });
        }
        self.text.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NIX: &str = "{ pkgs, ... }:\n{\n  nodes.a = { };\n  testScript = ''\n    start_all()\n    a.succeed(\"${pkgs.hello}/bin/hello\")\n\n    if True:\n      a.fail(\"''${x}\")\n  '';\n}\n";

    fn only(nix: &str, evaluated: &EvaluatedText) -> OpenScript {
        let mut scripts = open_scripts(nix, evaluated);
        assert_eq!(scripts.len(), 1, "{nix}");
        scripts.remove(0)
    }

    #[test]
    fn positions_are_found_in_both_directions() {
        let script = only(NIX, &EvaluatedText::default());
        assert_eq!(
            script.text,
            "start_all()\na.succeed(\"__name__/bin/hello\")\n\nif True:\n  a.fail(\"${x}\")\n"
        );
        for word in ["start_all", "a.succeed", "/bin/hello", "if True", "a.fail"] {
            let (file, here) = (NIX.find(word).unwrap(), script.text.find(word).unwrap());
            assert_eq!(script.in_script(file), Some(here), "{word}");
            let range = script.in_file(&(here..here + word.len()));
            assert_eq!(range, Some(file..file + word.len()), "{word}");
        }
        assert_eq!(script.in_script(NIX.find("pkgs.hello").unwrap()), None);
        assert_eq!(script.in_script(NIX.find("nodes").unwrap()), None);
        let gap = script.gaps[0].clone();
        let written = script.in_file(&gap).unwrap();
        assert_eq!(&NIX[written], "${pkgs.hello}");
        // In the indentation, and on an empty line.
        let line = NIX.find("    if True").unwrap();
        assert_eq!(script.in_script(line + 2), script.text.find("if True"));
        assert_eq!(script.in_script(line - 1), script.text.find("\nif True"));
    }

    #[test]
    fn computed_text_is_that_of_the_last_evaluation() {
        let script =
            "start_all()\na.succeed(\"/nix/store/h/bin/hello\")\n\nif True:\n  a.fail(\"${x}\")\n";
        let evaluated = EvaluatedText {
            nix: NIX.to_owned(),
            scripts: vec![script.to_owned()],
        };
        let edited = NIX.replace("start_all()", "a.wait_for_unit(\"x\")");
        let found = only(&edited, &evaluated);
        assert!(
            found.text.contains("\"/nix/store/h/bin/hello\""),
            "{}",
            found.text
        );
        assert!(found.gaps.is_empty());
        assert_eq!(found.evaluated, [0]);
        let other = edited.replace("pkgs.hello", "pkgs.jq");
        assert_eq!(only(&other, &evaluated).gaps.len(), 1);
    }

    #[test]
    fn a_text_with_errors_has_scripts() {
        for nix in [
            "{ testScript = ''\n  a.start()\n'';",
            "{ nodes.a = { x = ; }; testScript = ''a.start()''; }",
            "{ testScript = { nodes, ... }: ''\n  a.start()\n''; ",
            "{ testScript = lib.mkForce (\"a.start()\"); }",
            "let testScript = ''a.start()''; in { inherit testScript",
        ] {
            let found = open_scripts(nix, &EvaluatedText::default());
            assert!(
                found.iter().any(|script| script.text.contains("a.start()")),
                "{nix}"
            );
        }
        for nix in [
            "",
            "{ script = ''a.start()''; }",
            "{ testScript = 1; }",
            "{ ${\"testScript\"} = 1; }",
        ] {
            assert_eq!(open_scripts(nix, &EvaluatedText::default()), [], "{nix}");
        }
    }

    #[test]
    fn parts_of_a_script_know_the_others() {
        let nix = "{ testScript = common + ''\n  a.succeed(\"second\")\n''; }";
        let evaluated = EvaluatedText {
            nix: nix.to_owned(),
            scripts: vec!["def first():\n  pass\na.succeed(\"second\")\n".to_owned()],
        };
        let found = only(&nix.replace("a.succeed", "first()\n  a.fail"), &evaluated);
        assert_eq!(
            found.text,
            "def first():\n  pass\nfirst()\na.fail(\"second\")\n"
        );
        assert_eq!(found.in_file(&(0..3)), None);
    }
}
