//! The edit of a script's text: the new script without an evaluation.
//!
//! A string literal of a Nix file may be nothing but a test's script. If two versions of a file differ only inside such
//! a literal, and its antiquotations are the same, everything else that the file evaluates to is the same, and the
//! values of the antiquotations are those of the old script.

use rnix::ast::{self, Expr};
use rowan::TextRange;
use rowan::ast::AstNode;

use super::sole_script::{SCRIPT, is_sole_script, is_sole_script_file, mentions_script};
use super::strings::{Part, parts};

/// The least text of a literal in the middle of a script: less may be found by chance.
const LEAST_TEXT: usize = 20;

/// A script as a literal has it: texts, between any two of which there is a text that Nix computes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Texts(Vec<String>);

/// The edit of one literal that is a script, or a part of one.
#[derive(Debug)]
pub struct ScriptEdit {
    old: ScriptLiteral,
    new: Texts,
    /// The other scripts of the file.
    others: Vec<ScriptLiteral>,
}

/// A literal that is a script, or a part of one.
#[derive(Debug)]
pub(super) struct ScriptLiteral {
    texts: Texts,
    /// Whether other text of the script may be before the literal, and after it.
    before: Beside,
    after: Beside,
}

/// The text of a script beside a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    Computed,
}

impl ScriptEdit {
    /// Returns the edit that makes the one text of a Nix file the other; `None` if it is more than that of a script.
    #[must_use]
    pub fn of_nix(old: &str, new: &str) -> Option<Self> {
        let (before, after) = common_ends(old, new);
        let old_literal = literal_around(old, before..old.len() - after)?;
        let new_literal = literal_around(new, before..new.len() - after)?;
        let is_same_place = range(&old_literal).start() == range(&new_literal).start()
            && old.len() - usize::from(range(&old_literal).end())
                == new.len() - usize::from(range(&new_literal).end());
        if !is_same_place || !is_sole_script(&old_literal) || !is_sole_script(&new_literal) {
            return None;
        }
        let (_, old_computed) = texts(&old_literal)?;
        let (new, new_computed) = texts(&new_literal)?;
        let others = script_literals(&old_literal.syntax().ancestors().last()?)
            .filter(|other| range(other) != range(&old_literal));
        (old_computed == new_computed).then_some(Self {
            old: ScriptLiteral::of(&old_literal)?,
            new,
            others: others
                .filter_map(|other| ScriptLiteral::of(&other))
                .collect(),
        })
    }

    /// Returns the edit of a file that a script is read from; `None` if the Nix file does more with it.
    #[must_use]
    pub fn of_file(nix: &str, name: &str, old: &str, new: &str) -> Option<Self> {
        let root = ast::Root::cast(rnix::Root::parse(nix).syntax())?;
        let paths = root.syntax().descendants().filter_map(ast::PathRel::cast);
        let mut named = paths.filter(|path| path.to_string().ends_with(name));
        let path = Expr::PathRel(named.next()?);
        if named.next().is_some() || !is_sole_script_file(&path) {
            return None;
        }
        let whole = |text: &str| (!text.contains('\0')).then(|| Texts(vec![text.to_owned()]));
        Some(Self {
            old: ScriptLiteral {
                texts: whole(old)?,
                before: Beside::Computed,
                after: Beside::Computed,
            },
            new: whole(new)?,
            others: Vec::new(),
        })
    }

    /// Returns a script after the edit; `None` if the literal is no part of it, or it is not sure which.
    #[must_use]
    pub fn apply(&self, script: &str) -> Option<String> {
        let Placement { begin, end, values } = self.old.place(script)?;
        let is_here = |other: Placement<'_>| (other.begin, other.end) == (begin, end);
        let mut others = self.others.iter().filter_map(|other| other.place(script));
        if others.any(is_here) {
            return None;
        }
        let mut edited = script[..begin].to_owned();
        for (number, text) in self.new.0.iter().enumerate() {
            edited.push_str(text);
            edited.push_str(values.get(number).copied().unwrap_or_default());
        }
        edited.push_str(&script[end..]);
        Some(edited)
    }
}

/// Whether a Nix file does with scripts what shows no script: it only defines some.
#[must_use]
pub fn only_defines_scripts(nix: &str) -> bool {
    !nix.contains(SCRIPT) || !mentions_script(nix)
}

/// Whether a script may come from a literal of a Nix file.
#[must_use]
pub fn may_be_script(nix: &str, script: &str) -> bool {
    script_literals(&rnix::Root::parse(nix).syntax())
        .filter_map(|literal| ScriptLiteral::of(&literal))
        .any(|literal| literal.place(script).is_some())
}

fn script_literals(root: &rnix::SyntaxNode) -> impl Iterator<Item = ast::Str> + use<> {
    let literals = root.descendants().filter_map(ast::Str::cast);
    literals.filter(is_sole_script)
}

impl ScriptLiteral {
    pub fn of(literal: &ast::Str) -> Option<Self> {
        let (texts, _) = texts(literal)?;
        let (before, after) = texts_beside(literal);
        Some(Self {
            texts,
            before,
            after,
        })
    }

    /// Finds the literal in a script, if there is one way to do so.
    pub fn place<'a>(&self, script: &'a str) -> Option<Placement<'a>> {
        self.texts.place(script, self.before, self.after)
    }
}

/// Where a literal is in a script.
pub(super) struct Placement<'a> {
    pub begin: usize,
    pub end: usize,
    /// The computed texts between its own.
    pub values: Vec<&'a str>,
}

impl Texts {
    /// Finds the texts in a script, if there is one way to do so.
    fn place<'a>(&self, script: &'a str, before: Beside, after: Beside) -> Option<Placement<'a>> {
        let is_anchored = before == Beside::Nothing || after == Beside::Nothing;
        let length: usize = self.0.iter().map(|text| text.trim().len()).sum();
        if !is_anchored && length < LEAST_TEXT && self.0.concat() != script {
            return None;
        }
        let last = self.0.len() - 1;
        // For each text, its places that the texts before lead to.
        let mut reached: Vec<Vec<usize>> = Vec::new();
        for (number, text) in self.0.iter().enumerate() {
            let is_first = number == 0;
            let earliest = match reached.last() {
                None => 0,
                Some(earlier) => earlier.first()? + self.0[number - 1].len(),
            };
            let fits = |place: &usize| {
                let begins = !is_first || before == Beside::Computed || *place == 0;
                let end = place + text.len();
                let ends = number < last || after == Beside::Computed || end == script.len();
                *place >= earliest && begins && ends
            };
            reached.push(occurrences(script, text).filter(fits).collect());
        }
        let mut places = Vec::new();
        let mut limit = script.len();
        for number in (0..=last).rev() {
            let mut fitting = reached[number]
                .iter()
                .filter(|at| *at + self.0[number].len() <= limit);
            let (Some(place), None) = (fitting.next(), fitting.next()) else {
                return None;
            };
            places.push(*place);
            limit = *place;
        }
        places.reverse();
        let values = places.windows(2).zip(&self.0);
        let values = values.map(|(pair, text)| &script[pair[0] + text.len()..pair[1]]);
        Some(Placement {
            begin: places[0],
            end: places[last] + self.0[last].len(),
            values: values.collect(),
        })
    }
}

/// All places of a text, those that overlap as well.
fn occurrences<'a>(script: &'a str, text: &'a str) -> impl Iterator<Item = usize> + 'a {
    (0..=script.len().saturating_sub(text.len()))
        .filter(|place| script.as_bytes()[*place..].starts_with(text.as_bytes()))
}

/// How many bytes two texts have in common at their beginnings, and at their ends.
pub(super) fn common_ends(old: &str, new: &str) -> (usize, usize) {
    let same = |(left, right): &(u8, u8)| left == right;
    let before = old.bytes().zip(new.bytes()).take_while(same).count();
    let shorter = old.len().min(new.len());
    let after = old.bytes().rev().zip(new.bytes().rev());
    let after = after.take(shorter - before).take_while(same).count();
    (before, after)
}

/// The innermost string literal that has a range of bytes between its quotes.
fn literal_around(text: &str, bytes: std::ops::Range<usize>) -> Option<ast::Str> {
    let parsed = rnix::Root::parse(text);
    if !parsed.errors().is_empty() {
        return None;
    }
    let literals = parsed.syntax().descendants().filter_map(ast::Str::cast);
    let inside = literals.filter(|literal| {
        let quotes = literal
            .syntax()
            .first_token()
            .map_or(0, |token| token.text().len());
        let range = range(literal);
        usize::from(range.start()) + quotes <= bytes.start
            && bytes.end + quotes <= usize::from(range.end())
    });
    inside.last()
}

fn range(literal: &ast::Str) -> TextRange {
    literal.syntax().text_range()
}

/// The texts of a literal, and its antiquotations as they are written; those side by side are one.
pub(super) fn texts(literal: &ast::Str) -> Option<(Texts, Vec<String>)> {
    if literal.syntax().text().contains_char('\r') {
        return None;
    }
    let mut texts = vec![String::new()];
    let mut computed: Vec<String> = Vec::new();
    for part in parts(literal) {
        match part {
            Part::Text(text, _) => texts.last_mut()?.push_str(&text),
            Part::Antiquotation(written, _) => {
                let written = written.syntax().text().to_string();
                // Nothing shows where the one value ends and the next one begins.
                if let (2.., true, Some(last)) =
                    (texts.len(), texts.last()?.is_empty(), computed.last_mut())
                {
                    last.push_str(&written);
                } else {
                    computed.push(written);
                    texts.push(String::new());
                }
            }
        }
    }
    Some((Texts(texts), computed))
}

/// Whether a literal is added to other texts.
fn texts_beside(literal: &ast::Str) -> (Beside, Beside) {
    let (mut before, mut after) = (Beside::Nothing, Beside::Nothing);
    let mut node = literal.syntax().clone();
    while let Some(parent) = node.parent() {
        if let Some(sum) = ast::BinOp::cast(parent.clone()) {
            let is_first = sum.lhs().is_some_and(|left| left.syntax() == &node);
            if is_first {
                after = Beside::Computed;
            } else {
                before = Beside::Computed;
            }
        } else if ast::AttrpathValue::can_cast(parent.kind()) {
            let is_named = parent
                .parent()
                .is_some_and(|it| ast::LetIn::can_cast(it.kind()));
            if is_named {
                // What its name is added to is elsewhere.
                return (Beside::Computed, Beside::Computed);
            }
            break;
        }
        node = parent;
    }
    (before, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(old: &str, new: &str, script: &str) -> Option<String> {
        ScriptEdit::of_nix(old, new)?.apply(script)
    }

    /// A test whose script is between the quotes.
    fn test(script: &str) -> String {
        format!("{{ pkgs, ... }}:\n{{\n  nodes.a = {{ }};\n  testScript = ''\n{script}  '';\n}}\n")
    }

    #[test]
    fn the_text_of_a_script_is_edited() {
        let old = test("    start_all()\n    a.succeed(\"${pkgs.hello}/bin/hello\")\n");
        let new = test("    a.start()\n    a.fail(\"${pkgs.hello}/bin/hello -x\")\n");
        assert_eq!(
            edited(
                &old,
                &new,
                "start_all()\na.succeed(\"/nix/store/h/bin/hello\")\n"
            )
            .as_deref(),
            Some("a.start()\na.fail(\"/nix/store/h/bin/hello -x\")\n")
        );
        // The indentation of all lines is another when one has less.
        let outdented = test("  start_all()\n    a.succeed(\"${pkgs.hello}/bin/hello\")\n");
        assert_eq!(
            edited(
                &old,
                &outdented,
                "start_all()\na.succeed(\"x/bin/hello\")\n"
            )
            .as_deref(),
            Some("start_all()\n  a.succeed(\"x/bin/hello\")\n")
        );
        let escaped = test("    print(\"''${x} ''' \")\n");
        assert_eq!(
            edited(&test("    x\n"), &escaped, "x\n").as_deref(),
            Some("print(\"${x} '' \")\n")
        );
    }

    #[test]
    fn parts_of_a_script_are_edited() {
        let file = |text: &str| {
            format!(
                "let common = ''\n  def f():\n    return \"a value\"\n''; in {{ testScript = {{ nodes, ... }}: common + ''\n{text}''; }}"
            )
        };
        let script = "def f():\n  return \"a value\"\none_long_call()\n";
        assert_eq!(
            edited(&file("  one_long_call()\n"), &file("  other()\n"), script).as_deref(),
            Some("def f():\n  return \"a value\"\nother()\n")
        );
        let common = file("  one_long_call()\n");
        let changed = common.replace("\"a value\"", "1");
        assert_eq!(
            edited(&common, &changed, script).as_deref(),
            Some("def f():\n  return 1\none_long_call()\n")
        );
    }

    #[test]
    fn other_edits_are_evaluated() {
        let old = test("    a.succeed(\"${pkgs.hello}/bin/hello\")\n");
        for new in [
            old.replace("pkgs.hello", "pkgs.jq"),
            old.replace("nodes.a", "nodes.b"),
            old.replace("{ };", "{ x = 1; };"),
            old.replace("a.succeed(\"${pkgs.hello}/bin/hello\")", "a.succeed()"),
            old.replace("a.succeed(", "a.succeed(${toString 1}"),
            old.replace("a.succeed(", "a.succeed(''; x = ''"),
            old.replace("a.succeed(", "a.succeed(${"),
            // A carriage return is not in all releases of Nix what it is in a file.
            old.replace("hello\")", "hello\")\r"),
        ] {
            assert_ne!(old, new);
            assert!(ScriptEdit::of_nix(&old, &new).is_none(), "{new}");
        }
        // It is not clear which text is which value.
        let two = |text: &str| test(&format!("    ${{pkgs.x}} ${{pkgs.y}}{text}\n"));
        assert_eq!(edited(&two(""), &two("!"), "a b c\n"), None);
        assert_eq!(
            edited(&two(""), &two("!"), "a b\n").as_deref(),
            Some("a b!\n")
        );
        // The script does not come from here.
        assert_eq!(edited(&two(""), &two("!"), "other\n"), None);
    }

    #[test]
    fn a_text_that_is_used_otherwise_is_evaluated() {
        for file in [
            "{ nodes.a.x = ''TEXT''; testScript = \"\"; }",
            "rec { testScript = ''TEXT''; nodes.a.x = testScript; }",
            "let s = ''TEXT''; in { testScript = s; nodes.a.x = s; }",
            "let s = ''TEXT''; in { testScript = s; inherit s; }",
            "let t = { testScript = ''TEXT''; }; in t // { nodes.a.x = t.testScript; }",
            "let t = { testScript = ''TEXT''; }; in f t // { nodes.a.x = builtins.toJSON t; }",
            "{ testScript = f ''TEXT''; }",
            "{ testScript = ''${f ''TEXT''}''; }",
            "{ testScript = ''TEXT''; x = __curPos; }",
            "{ testScript = ''TEXT''; x = y: y.${\"testScript\"}; }",
            "{ testScript = ''TEXT''; x = { config, ... }: config.testScript; }",
            "{ testScript = ''TEXT''; x = { testScript, ... }: testScript; }",
            "builtins.toJSON { testScript = ''TEXT''; }",
            "let runTest = t: builtins.toJSON t; in runTest { testScript = ''TEXT''; }",
            "(x: x.runTest) { testScript = ''TEXT''; }",
            "{ config.testScript.text = ''TEXT''; }",
            "{ testScript = [ ''TEXT'' ]; }",
            "{ testScript = { a = ''TEXT''; }; }",
            "{ \"${''TEXT''}\" = 1; testScript = ''''; }",
            "{ testScript = if ''TEXT'' == x then a else b; }",
            "{ testScript = x: assert ''TEXT'' != x; ''''; }",
        ] {
            let (old, new) = (file.replace("TEXT", "old()"), file.replace("TEXT", "new()"));
            assert!(ScriptEdit::of_nix(&old, &new).is_none(), "{file}");
        }
        for file in [
            "{ testScript = ''TEXT''; }",
            "pkgs.testers.runNixOSTest { testScript = { nodes, ... }: let x = 1; in ''TEXT''; }",
            "{ a = pkgs.testers.runNixOSTest ({ lib, ... }: { testScript = (''TEXT''); }); }",
            "import ./make-test-python.nix ({ pkgs, ... }: { testScript = \"TEXT\"; })",
            "import ./make-test-python.nix { testScript = \"TEXT\"; } { }",
            "{ x ? 1 }: let pkgs = import <nixpkgs> { }; in pkgs.nixosTest { testScript = ''TEXT''; }",
            "let s = ''TEXT''; in { testScript = s; }",
            "let testScript = ''TEXT''; in { inherit testScript; }",
            "let t = { testScript = ''TEXT''; }; in pkgs.nixosTest t",
            "{ outputs = { self, nixpkgs }: { checks.x86_64-linux.a = nixpkgs.legacyPackages.x86_64-linux.testers.runNixOSTest { testScript = ''TEXT''; }; }; }",
            "{ testScript = if x then ''TEXT'' else ''other''; }",
            "{\n outputs = { self }: { checks.x86_64-linux.test = { name = \"two\"; nodes.left.x = \"tiny\"; testScript = ''TEXT''; }; };\n}",
        ] {
            let (old, new) = (file.replace("TEXT", "old()"), file.replace("TEXT", "new()"));
            let edit = ScriptEdit::of_nix(&old, &new);
            assert_eq!(
                edit.and_then(|edit| edit.apply("old()")).as_deref(),
                Some("new()"),
                "{file}"
            );
        }
    }

    #[test]
    fn a_file_that_is_read_is_a_script() {
        let edit = |nix: &str| ScriptEdit::of_file(nix, "s.py", "one()\n", "two()\n");
        let nix = "{ testScript = builtins.readFile ./s.py; }";
        assert_eq!(
            edit(nix).and_then(|edit| edit.apply("one()\n")).as_deref(),
            Some("two()\n")
        );
        for nix in [
            "{ testScript = ./s.py; }",
            "{ lib, ... }: { testScript = \"start_all()\\n\" + lib.readFile ./s.py; }",
        ] {
            assert!(edit(nix).is_some(), "{nix}");
        }
        for nix in [
            "{ testScript = builtins.readFile ./s.py; x = ./s.py; }",
            "{ x = builtins.readFile ./s.py; }",
            "{ testScript = f (builtins.readFile ./s.py); }",
            "{ testScript = builtins.readFile ./other.py; }",
        ] {
            assert!(edit(nix).is_none(), "{nix}");
        }
    }
}
