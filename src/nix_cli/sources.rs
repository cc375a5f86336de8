//! Files that a Nix file reads besides other Nix files, as far as its text shows.
//!
//! Nix tells which Nix files it evaluates, and not which other ones it reads.
//! In a file of the user's these are named by its path literals, folders with
//! all that is in them.

use std::path::{Path, PathBuf};

use rnix::ast::{self, Expr, HasEntry, InterpolPart};
use rowan::ast::AstNode;

/// Something that an evaluation depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A file, a folder with all in it, or the absence of both.
    Path(PathBuf),
    /// A variable of the environment.
    Variable(String),
    /// A name of the search path, such as `nixpkgs`.
    Search(String),
}

/// Why the inputs of a file are not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt(pub String);

/// Functions that read files, besides those that evaluate them.
const READERS: [&str; 10] = [
    "readFile",
    "readDir",
    "readFileType",
    "pathExists",
    "hashFile",
    "storePath",
    "toPath",
    "importJSON",
    "importTOML",
    "fileContents",
];

/// Names of functions whose results differ each time, or change unseen.
const NEVER: [&str; 12] = [
    "currentTime",
    "curPos",
    "dirOf",
    "exec",
    "fetchClosure",
    "fetchMercurial",
    "fetchTree",
    "filterSource",
    "findFile",
    "getFlake",
    "importNative",
    "nixPath",
];

/// Whether a function of this name may read what its text does not show, or what changes.
fn is_function_of_doubt(name: &str) -> bool {
    let name = name.trim_start_matches("__");
    NEVER.contains(&name) || READERS.contains(&name) || FETCHERS.contains(&name) || name == "getEnv"
}

/// Functions whose result may change unseen, unless it is fixed.
const FETCHERS: [&str; 3] = ["fetchTarball", "fetchGit", "fetchurl"];

/// The treatment of a nixpkgs that a file fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchedNixpkgs {
    /// The nixpkgs is fetched, and evaluated.
    Used,
    /// Another one takes its place: it is never fetched.
    Replaced,
}

/// Returns the files that the text of the Nix file at `file` depends on.
///
/// # Errors
/// Returns an error if there is a doubt.
pub fn inputs(file: &Path, text: &str, fetched: FetchedNixpkgs) -> Result<Vec<Input>, Doubt> {
    let mut reading = SourceReader::of(file, fetched);
    for node in rnix::Root::parse(text).tree().syntax().descendants() {
        reading.visit(node)?;
    }
    Ok(reading.found)
}

/// The paths that the text of the Nix file at `file` names, whatever else it
/// may read.
pub fn paths(file: &Path, text: &str) -> Vec<PathBuf> {
    let mut reading = SourceReader::of(file, FetchedNixpkgs::Replaced);
    for node in rnix::Root::parse(text).tree().syntax().descendants() {
        // A doubt is about what is not named.
        let _ = reading.visit(node);
    }
    let path = |input| match input {
        Input::Path(path) => Some(path),
        Input::Variable(_) | Input::Search(_) => None,
    };
    reading.found.into_iter().filter_map(path).collect()
}

/// The files found so far in a Nix file.
struct SourceReader<'a> {
    file: &'a Path,
    folder: &'a Path,
    fetched: FetchedNixpkgs,
    found: Vec<Input>,
}

impl<'a> SourceReader<'a> {
    fn of(file: &'a Path, fetched: FetchedNixpkgs) -> Self {
        Self {
            file,
            folder: file.parent().unwrap_or(Path::new("/")),
            fetched,
            found: Vec::new(),
        }
    }

    fn doubt(&self, name: &str) -> Doubt {
        Doubt(format!("{} uses {name}", self.file.display()))
    }

    fn visit(&mut self, node: rnix::SyntaxNode) -> Result<(), Doubt> {
        if let Some(path) = ast::Path::cast(node.clone()) {
            self.visit_path(&path)
        } else if let Some(string) = ast::Str::cast(node.clone()) {
            self.visit_string(&string)
        } else if let Some(name) = ast::Ident::cast(node).and_then(|name| name.ident_token()) {
            self.visit_name(&name)
        } else {
            Ok(())
        }
    }

    fn visit_path(&mut self, path: &ast::Path) -> Result<(), Doubt> {
        let parts = path.parts();
        let Some(InterpolPart::Literal(content)) = parts.first() else {
            return Err(self.doubt("a path that is computed"));
        };
        let text = content.text();
        if path.is_search() {
            let name = text.trim_matches(['<', '>']);
            let name = name.split('/').next().unwrap_or(name);
            self.found.push(Input::Search(name.to_owned()));
            return Ok(());
        }
        let is_whole = parts.len() == 1;
        let text = match text.rfind('/') {
            Some(end) if !is_whole => &text[..=end],
            _ => text,
        };
        let behind = behind(path);
        let known = path_of(text, self.folder)?;
        let parent = known.parent().map(Path::to_owned);
        self.found.push(Input::Path(match behind {
            Behind::Name => parent.unwrap_or(known),
            _ => known,
        }));
        // What is computed may lead up and out again.
        if (is_whole && !matches!(behind, Behind::Computed)) || is_imported(path.syntax()) {
            Ok(())
        } else {
            Err(self.doubt("a path that is computed"))
        }
    }

    fn visit_string(&mut self, string: &ast::Str) -> Result<(), Doubt> {
        // As in `builtins."getEnv"`, or `getAttr "getEnv" lib`.
        if let Some(name) =
            literal(&Expr::Str(string.clone())).filter(|name| is_function_of_doubt(name))
        {
            return Err(self.doubt(&name));
        }
        if let Some(path) = absolute(string).filter(|path| path.is_file()) {
            self.found.push(Input::Path(path));
        }
        Ok(())
    }

    fn visit_name(&mut self, name: &rnix::SyntaxToken) -> Result<(), Doubt> {
        if name.text() == "builtins" && is_whole_set(name) {
            return Err(self.doubt("builtins as a value"));
        }
        let argument = argument_of(name);
        // Each of these has a second name, such as `__getEnv`.
        match name.text().trim_start_matches("__") {
            never if NEVER.contains(&never) => return Err(self.doubt(never)),
            "getEnv" => {
                let variable = argument.as_ref().and_then(literal);
                let variable = variable.ok_or_else(|| self.doubt("getEnv"))?;
                self.found.push(Input::Variable(variable));
            }
            fetch
                if FETCHERS.contains(&fetch)
                    && !argument
                        .as_ref()
                        .is_some_and(|argument| is_fixed(argument, self.fetched)) =>
            {
                return Err(self.doubt(fetch));
            }
            reader if READERS.contains(&reader) => self.visit_read(reader, argument)?,
            // `builtins.path { path = …; }`
            "path" => {
                if let Some(read) = argument.as_ref().and_then(|set| entry(set, "path")) {
                    self.visit_read("builtins.path", Some(read))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes a call of a function that reads: its argument must be written down. Path literals are visited separately.
    fn visit_read(&mut self, reader: &str, argument: Option<Expr>) -> Result<(), Doubt> {
        let argument = argument.ok_or_else(|| self.doubt(reader))?;
        if let Some(text) = literal(&argument).filter(|text| text.starts_with('/')) {
            self.found.push(Input::Path(PathBuf::from(text)));
            return Ok(());
        }
        if is_path(&argument) {
            Ok(())
        } else {
            Err(self.doubt(reader))
        }
    }
}

/// A path literal, or one with strings behind it.
fn is_path(expression: &Expr) -> bool {
    match expression {
        Expr::Paren(paren) => paren.expr().is_some_and(|inner| is_path(&inner)),
        Expr::BinOp(sum) => sum.lhs().is_some_and(|left| is_path(&left)),
        other => ast::Path::can_cast(other.syntax().kind()),
    }
}

/// An expression that is appended to a path with `+`.
enum Behind {
    Nothing,
    /// As in `./id + ".txt"`: it is another file beside it.
    Name,
    /// As in `./folder + "/id.txt"`.
    Below,
    /// Not known, or leads up.
    Computed,
}

fn behind(path: &ast::Path) -> Behind {
    let mut node = path.syntax().clone();
    let mut behind = Behind::Nothing;
    while let Some(parent) = node.parent() {
        if let Some(sum) = ast::BinOp::cast(parent.clone()) {
            let is_first = sum.lhs().is_some_and(|left| left.syntax() == &node);
            if sum.operator() != Some(ast::BinOpKind::Add) || !is_first {
                break;
            }
            behind = match (behind, sum.rhs().as_ref().and_then(literal)) {
                (_, None) => return Behind::Computed,
                (_, Some(text)) if text.contains("..") => return Behind::Computed,
                (Behind::Nothing, Some(text)) if text.starts_with('/') => Behind::Below,
                (Behind::Nothing, Some(_)) => Behind::Name,
                (more, Some(_)) => more,
            };
        } else if !ast::Paren::can_cast(parent.kind()) {
            break;
        }
        node = parent;
    }
    behind
}

/// Whether it is what `import` takes: Nix prints the file itself.
fn is_imported(path: &rnix::SyntaxNode) -> bool {
    let mut node = path.clone();
    while let Some(parent) = node.parent() {
        if let Some(apply) = ast::Apply::cast(parent.clone()) {
            return matches!(apply.lambda(), Some(Expr::Ident(name)) if name.to_string() == "import");
        }
        if !ast::Paren::can_cast(parent.kind()) && !ast::BinOp::can_cast(parent.kind()) {
            return false;
        }
        node = parent;
    }
    false
}

fn path_of(text: &str, folder: &Path) -> Result<PathBuf, Doubt> {
    match text.strip_prefix("~/") {
        Some(rest) => {
            let home = std::env::var_os("HOME")
                .ok_or_else(|| Doubt("there is no home folder".to_owned()))?;
            Ok(PathBuf::from(home).join(rest))
        }
        None => Ok(folder.join(text)),
    }
}

/// Whether a set is used otherwise than for a function that is named beside it: any of its functions may be meant.
fn is_whole_set(name: &rnix::SyntaxToken) -> bool {
    let node = name.parent();
    let Some((node, parent)) = node.and_then(|node| Some((node.clone(), node.parent()?))) else {
        return true;
    };
    if let Some(select) = ast::Select::cast(parent.clone()) {
        let is_static = |attr: ast::Attr| match attr {
            ast::Attr::Ident(_) => true,
            ast::Attr::Str(string) => literal(&Expr::Str(string)).is_some(),
            ast::Attr::Dynamic(_) => false,
        };
        let is_set = select.expr().is_some_and(|set| set.syntax() == &node);
        let mut path = select.attrpath().into_iter().flat_map(|path| path.attrs());
        return !(is_set && path.all(is_static));
    }
    if let Some(with) = ast::With::cast(parent.clone()) {
        // The names in its body are looked at like all others.
        return with.namespace().is_none_or(|set| set.syntax() != &node);
    }
    // `inherit (builtins) NAME`, `builtins ? NAME`, `x.builtins`, `{ builtins = …; }`.
    let kind = parent.kind();
    !(ast::InheritFrom::can_cast(kind)
        || ast::HasAttr::can_cast(kind)
        || ast::Attrpath::can_cast(kind))
}

/// The value of a name in a set that is written down.
fn entry(set: &Expr, name: &str) -> Option<Expr> {
    let Expr::AttrSet(set) = set else {
        return None;
    };
    set.attrpath_values()
        .find(|entry| {
            entry
                .attrpath()
                .is_some_and(|path| path.syntax().text() == name)
        })?
        .value()
}

/// The beginning of a string that names an absolute path outside the store.
fn absolute(string: &ast::Str) -> Option<PathBuf> {
    let is_name = string
        .syntax()
        .parent()
        .is_some_and(|parent| ast::Attrpath::can_cast(parent.kind()));
    let InterpolPart::Literal(text) = string.normalized_parts().into_iter().next()? else {
        return None;
    };
    (!is_name && text.starts_with('/') && !text.starts_with("/nix/store/") && !text.contains('\n'))
        .then(|| PathBuf::from(text))
}

/// Returns the argument of the function with this name.
fn argument_of(name: &rnix::SyntaxToken) -> Option<Expr> {
    let mut node = name.parent()?;
    // Out of `builtins.NAME` to the whole of it.
    while let Some(parent) = node.parent() {
        if let Some(apply) = ast::Apply::cast(parent.clone()) {
            let is_function = apply
                .lambda()
                .is_some_and(|function| function.syntax() == &node);
            return if is_function { apply.argument() } else { None };
        }
        if !ast::Select::can_cast(parent.kind())
            && !ast::Attrpath::can_cast(parent.kind())
            && !ast::Paren::can_cast(parent.kind())
        {
            return None;
        }
        node = parent;
    }
    None
}

fn literal(expression: &Expr) -> Option<String> {
    let Expr::Str(string) = expression else {
        return None;
    };
    match string.normalized_parts().as_slice() {
        [InterpolPart::Literal(text)] => Some(text.clone()),
        _ => None,
    }
}

/// Whether what is fetched is the same each time.
fn is_fixed(argument: &Expr, fetched: FetchedNixpkgs) -> bool {
    let text = argument.syntax().text().to_string();
    if fetched == FetchedNixpkgs::Replaced && text.to_lowercase().contains("nixos/nixpkgs") {
        return true;
    }
    let Expr::AttrSet(set) = argument else {
        return false;
    };
    set.attrpath_values().any(|entry| {
        entry.attrpath().is_some_and(|path| {
            ["sha256", "hash", "narHash", "rev"]
                .contains(&path.syntax().text().to_string().as_str())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<Input>, Doubt> {
        inputs(Path::new("/home/me/test.nix"), text, FetchedNixpkgs::Used)
    }

    fn paths(text: &str) -> Vec<PathBuf> {
        let found = of(text).unwrap().into_iter();
        found
            .filter_map(|input| match input {
                Input::Path(path) => Some(path),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn path_literals_are_inputs() {
        assert_eq!(
            paths("{ a = builtins.readFile ./a.txt; b = ./lib + \"/b\"; }"),
            [Path::new("/home/me/./a.txt"), Path::new("/home/me/./lib")]
        );
        assert_eq!(
            paths("n: import ./sub/${n}.nix"),
            [Path::new("/home/me/./sub/")]
        );
        // The file that is meant is beside it.
        assert_eq!(
            paths("builtins.readFile (./sub/id + \".txt\")"),
            [Path::new("/home/me/./sub")]
        );
        assert_eq!(paths("import /etc/x.nix"), [Path::new("/etc/x.nix")]);
    }

    #[test]
    fn names_of_the_search_path_and_variables_are_inputs() {
        assert_eq!(
            of("import <nixpkgs/nixos> { x = builtins.getEnv \"X\"; }").unwrap(),
            [Input::Search("nixpkgs".into()), Input::Variable("X".into())]
        );
    }

    #[test]
    fn what_may_change_unseen_is_a_doubt() {
        for text in [
            "builtins.currentTime",
            "builtins.getEnv name",
            "fetchTarball \"https://x/y.tar.gz\"",
            "(builtins.fetchGit { url = \"x\"; ref = \"main\"; })",
            "builtins.getFlake \"x\"",
            "builtins.readFile (\"/etc/\" + name)",
            "builtins.readFile (dir + \"/x\")",
            "builtins.readFile ./s/${\"..\"}/id.txt",
            "builtins.readFile (./. + \"/../id.txt\")",
            "builtins.readFile (dirOf ./sub + \"/id.txt\")",
            "builtins.readFile __curPos.file",
            "builtins.path { path = dir; }",
            "builtins.filterSource f ./x",
            "builtins.\"getEnv\" \"FOO\"",
            "(builtins.getAttr \"getEnv\" builtins) \"FOO\"",
            "(lib.getAttr \"pathExists\" lib) dir",
            "builtins.${\"get\" + \"Env\"} \"FOO\"",
            "let b = builtins; in b.${name} \"FOO\"",
            "(builtins).${name}",
            "let inherit (builtins) getEnv; in map getEnv names",
            "with builtins; map getEnv names",
            "{ inherit builtins; }",
            "x: x.${name} or builtins",
            "builtins.attrValues builtins",
            "{ b = x.builtins.builtins; f = f builtins; }",
            "builtins.fetchClosure { fromPath = x; }",
            "builtins.nixPath",
            "__currentTime",
            "__readFile name",
            "map builtins.readFile files",
            "./a + name",
        ] {
            assert!(of(text).is_err(), "{text}");
        }
        for text in [
            "fetchTarball { url = \"https://x\"; sha256 = \"0\"; }",
            "builtins.fetchGit { url = \"x\"; rev = \"0\"; }",
            "import ./lib/${name}.nix",
            "import (./lib + \"/${name}.nix\")",
            "builtins.path { path = ./x; name = \"x\"; }",
            "{ systemd.services.x.path = [ pkgs.jq ]; }",
            "with builtins; length (attrNames nodes)",
            "let inherit (builtins) map; in builtins.toString (map f [ ])",
            "builtins ? toJSON && nodes.${name}.x or true",
            "{ fileSystems.\"/\" = { }; dataDir = \"/var/lib/x\"; }",
        ] {
            assert!(of(text).is_ok(), "{text}");
        }
        let tutorial = "fetchTarball \"https://github.com/NixOS/nixpkgs/archive/x.tar.gz\"";
        assert!(of(tutorial).is_err());
        assert!(inputs(Path::new("/t.nix"), tutorial, FetchedNixpkgs::Replaced).is_ok());
    }

    #[test]
    fn files_that_strings_name_are_inputs() {
        assert_eq!(
            paths("{ x = \"/etc/passwd\"; }"),
            [Path::new("/etc/passwd")]
        );
    }
}
