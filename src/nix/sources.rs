//! What a Nix file reads besides other Nix files, as far as its text tells.
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

/// Why it cannot be told what a file depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt(pub String);

/// Functions that read files, besides those that evaluate them.
const READERS: [&str; 12] = [
    "readFile",
    "readDir",
    "readFileType",
    "pathExists",
    "hashFile",
    "filterSource",
    "findFile",
    "storePath",
    "toPath",
    "importJSON",
    "importTOML",
    "fileContents",
];

/// What is never the same twice, or may change where nobody sees it.
const NEVER: [&str; 5] = [
    "currentTime",
    "getFlake",
    "fetchTree",
    "fetchMercurial",
    "exec",
];

/// What the text of the Nix file at `file` depends on. Where `stand_in` is
/// true, a nixpkgs that it fetches is never fetched.
///
/// # Errors
/// When there is a doubt.
pub fn inputs(file: &Path, text: &str, stand_in: bool) -> Result<Vec<Input>, Doubt> {
    let mut reading = Reading::of(file, stand_in);
    for node in rnix::Root::parse(text).tree().syntax().descendants() {
        reading.visit(node)?;
    }
    match &reading.reads_computed {
        // The path may be made of one of the strings.
        Some(name) if reading.has_absolute_strings => Err(reading.doubt(name)),
        _ => Ok(reading.found),
    }
}

/// The paths that the text of the Nix file at `file` names, whatever else it
/// may read.
pub fn paths(file: &Path, text: &str) -> Vec<PathBuf> {
    let mut reading = Reading::of(file, true);
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

/// What was seen of a file.
struct Reading<'a> {
    file: &'a Path,
    folder: &'a Path,
    stand_in: bool,
    found: Vec<Input>,
    /// The function that reads a path which is not written down.
    reads_computed: Option<String>,
    has_absolute_strings: bool,
}

impl<'a> Reading<'a> {
    fn of(file: &'a Path, stand_in: bool) -> Self {
        Self {
            file,
            folder: file.parent().unwrap_or(Path::new("/")),
            stand_in,
            found: Vec::new(),
            reads_computed: None,
            has_absolute_strings: false,
        }
    }

    fn doubt(&self, name: &str) -> Doubt {
        Doubt(format!("{} uses {name}", self.file.display()))
    }

    fn visit(&mut self, node: rnix::SyntaxNode) -> Result<(), Doubt> {
        if let Some(path) = ast::Path::cast(node.clone()) {
            self.found.push(path_input(&path, self.folder)?);
        } else if let Some(string) = ast::Str::cast(node.clone()) {
            self.visit_string(&string);
        } else if let Some(name) = ast::Ident::cast(node).and_then(|name| name.ident_token()) {
            self.visit_name(&name)?;
        }
        Ok(())
    }

    fn visit_string(&mut self, string: &ast::Str) {
        let Some(path) = absolute(string) else {
            return;
        };
        // `"/x"' after a path is a part of another one, mostly.
        let top: PathBuf = path.iter().take(2).collect();
        self.has_absolute_strings |= top.exists();
        if path.is_file() {
            self.found.push(Input::Path(path));
        }
    }

    fn visit_name(&mut self, name: &rnix::SyntaxToken) -> Result<(), Doubt> {
        let argument = argument_of(name);
        match name.text() {
            never if NEVER.contains(&never) => return Err(self.doubt(never)),
            "getEnv" => {
                let variable = argument.as_ref().and_then(literal);
                let variable = variable.ok_or_else(|| self.doubt("getEnv"))?;
                self.found.push(Input::Variable(variable));
            }
            fetch @ ("fetchTarball" | "fetchGit" | "fetchurl")
                if !argument
                    .as_ref()
                    .is_some_and(|argument| is_fixed(argument, self.stand_in)) =>
            {
                return Err(self.doubt(fetch));
            }
            reader if READERS.contains(&reader) && !argument.as_ref().is_some_and(is_path) => {
                self.reads_computed = Some(reader.to_owned());
            }
            _ => {}
        }
        Ok(())
    }
}

fn is_path(expression: &Expr) -> bool {
    ast::Path::can_cast(expression.syntax().kind())
}

/// A path literal: up to what is computed in it.
fn path_input(path: &ast::Path, folder: &Path) -> Result<Input, Doubt> {
    let parts = path.parts();
    let Some(InterpolPart::Literal(content)) = parts.first() else {
        return Ok(Input::Path(folder.to_owned()));
    };
    let text = content.text();
    if path.is_search() {
        let name = text.trim_matches(['<', '>']);
        let name = name.split('/').next().unwrap_or(name);
        return Ok(Input::Search(name.to_owned()));
    }
    let is_whole = parts.len() == 1;
    let text = match text.rfind('/') {
        Some(end) if !is_whole => &text[..=end],
        _ => text,
    };
    let path = match text.strip_prefix("~/") {
        Some(rest) => {
            let home = std::env::var_os("HOME")
                .ok_or_else(|| Doubt("there is no home folder".to_owned()))?;
            PathBuf::from(home).join(rest)
        }
        None => folder.join(text),
    };
    Ok(Input::Path(path))
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

/// What the function of this name is applied to.
fn argument_of(name: &rnix::SyntaxToken) -> Option<Expr> {
    let mut node = name.parent()?;
    // Out of `builtins.NAME' to the whole of it.
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
fn is_fixed(argument: &Expr, stand_in: bool) -> bool {
    let text = argument.syntax().text().to_string();
    if stand_in && text.to_lowercase().contains("nixos/nixpkgs") {
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
        inputs(Path::new("/home/me/test.nix"), text, false)
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
        assert_eq!(paths("n: ./sub/${n}.json"), [Path::new("/home/me/./sub/")]);
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
        ] {
            assert!(of(text).is_err(), "{text}");
        }
        for text in [
            "fetchTarball { url = \"https://x\"; sha256 = \"0\"; }",
            "builtins.fetchGit { url = \"x\"; rev = \"0\"; }",
            "builtins.readFile (dir + \"/x\")",
            "{ fileSystems.\"/\" = { }; dataDir = \"/var/lib/x\"; }",
        ] {
            assert!(of(text).is_ok(), "{text}");
        }
        let tutorial = "fetchTarball \"https://github.com/NixOS/nixpkgs/archive/x.tar.gz\"";
        assert!(of(tutorial).is_err());
        assert!(inputs(Path::new("/t.nix"), tutorial, true).is_ok());
    }

    #[test]
    fn files_that_strings_name_are_inputs() {
        assert_eq!(
            paths("{ x = \"/etc/passwd\"; }"),
            [Path::new("/etc/passwd")]
        );
    }
}
