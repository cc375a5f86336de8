//! Reads derivation files: which others each needs, and what it fetches.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The fields of a derivation that this program reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Derivation {
    /// Its outputs' store paths.
    pub outputs: Vec<PathBuf>,
    /// Whether its output is known by its hash: it is fetched.
    pub is_fetched: bool,
    /// The derivations that it needs.
    pub inputs: BTreeSet<PathBuf>,
}

/// A derivation and all that it needs, by path.
///
/// # Errors
/// Returns an error if a file cannot be read, or is none of a derivation.
pub fn derivations_below(root: &Path) -> io::Result<BTreeMap<PathBuf, Derivation>> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        if found.contains_key(&path) {
            continue;
        }
        let text = fs::read(&path)?;
        let derivation = parse(&String::from_utf8_lossy(&text)).ok_or_else(|| {
            let message = format!("{} is no derivation", path.display());
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?;
        open.extend(derivation.inputs.iter().cloned());
        found.insert(path, derivation);
    }
    Ok(found)
}

/// The name of a derivation's file without the hash and `.drv`.
#[must_use]
pub fn name_of(path: &Path) -> &str {
    let file = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let name = file.split_once('-').map_or(file, |(_, name)| name);
    name.strip_suffix(".drv").unwrap_or(name)
}

/// `Derive([("out","PATH","ALGORITHM","HASH"),…],[("PATH.drv",["out"]),…],…`
fn parse(text: &str) -> Option<Derivation> {
    let rest = text.strip_prefix("Derive([")?;
    let mut derivation = Derivation::default();
    let mut reader = Reader { rest };
    while reader.take("(") {
        let [_, path, _, hash] = [(); 4].map(|()| reader.string_and_comma());
        derivation.outputs.push(PathBuf::from(path?));
        derivation.is_fetched |= !hash?.is_empty();
        reader.expect(")")?;
        reader.take(",");
    }
    reader.expect("],[")?;
    while reader.take("(") {
        derivation
            .inputs
            .insert(PathBuf::from(reader.string_and_comma()?));
        reader.expect("[")?;
        while !reader.take("]") {
            reader.string_and_comma()?;
        }
        reader.expect(")")?;
        reader.take(",");
    }
    Some(derivation)
}

/// The unread part of a text.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Option<()> {
        self.take(token).then_some(())
    }

    /// A string, and the comma after it if there is one. Paths and hashes have nothing escaped.
    fn string_and_comma(&mut self) -> Option<&'a str> {
        self.expect("\"")?;
        let (text, rest) = self.rest.split_once('"')?;
        self.rest = rest;
        self.take(",");
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_and_what_is_fetched_are_read() {
        let text = r#"Derive([("dev","/nix/store/a-x-dev","",""),("out","/nix/store/b-x","","")],[("/nix/store/c-y.drv",["out","dev"]),("/nix/store/d-z.drv",["out"])],["/nix/store/e-s"],"x86_64-linux","/bin/sh",[],[("name","x \" y")])"#;
        let derivation = parse(text).unwrap();
        assert_eq!(derivation.outputs.len(), 2);
        assert!(!derivation.is_fetched);
        let inputs: Vec<&str> = derivation.inputs.iter().map(|path| name_of(path)).collect();
        assert_eq!(inputs, ["y", "z"]);

        let fetched =
            r#"Derive([("out","/nix/store/f-g","r:sha256","00ff")],[],[],"builtin","x",[],[])"#;
        assert!(parse(fetched).unwrap().is_fetched);
        assert_eq!(parse("no derivation"), None);
    }
}
