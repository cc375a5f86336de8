//! The remedy for a file of a flake that git does not know.

use std::path::Path;

use percent_encoding::percent_decode_str;
use regex_lite::Regex;

/// How Nix's messages name a file that is not in the copy of a repository, and a flake.nix that is not.
const MISSING: [&str; 2] = [
    r"'(/nix/store/[a-z0-9]{32}-source)/([^'\n]+)'",
    r"does not contain a '()/([^'\n]+)' file",
];

/// Returns a hint if a message misses a file that the repository's folder has: Nix reads what git knows.
pub(super) fn git_hint(message: &str, reference: &str) -> Option<String> {
    let address = reference.strip_prefix("git+file://")?;
    let (root, _) = address.split_once('?').unwrap_or((address, ""));
    let root = percent_decode_str(root).decode_utf8_lossy().into_owned();
    let missing = MISSING.iter().find_map(|pattern| {
        let found = Regex::new(pattern).ok()?.captures(message)?;
        let is_missing = !Path::new(&found[1]).join(&found[2]).exists();
        let is_there = Path::new(&root).join(&found[2]).exists();
        (is_missing && is_there).then(|| found[2].to_owned())
    })?;
    let (root, missing) = (
        shlex::try_quote(&root).ok()?,
        shlex::try_quote(&missing).ok()?,
    );
    Some(format!(
        "\n\nThe file is there, but git does not know it, and of a repository Nix reads what git knows: \
         `git -C {root} add {missing}`."
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_that_git_does_not_know_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("a b");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("sub/new.nix"), "").unwrap();
        let reference = format!("git+file://{}/a%20b?dir=sub", folder.path().display());
        let store = format!("/nix/store/{}-source", "a".repeat(32));
        let hint = |message: &str| git_hint(message, &reference);
        for message in [
            format!("error: getting status of '{store}/sub/new.nix': No such file or directory"),
            format!("error: path '{store}/sub/new.nix' does not exist"),
            format!("error: opening file '{store}/sub/new.nix': No such file or directory"),
            "error: source tree does not contain a '/sub/new.nix' file".to_owned(),
        ] {
            let expected = format!("`git -C '{}' add sub/new.nix`.", root.display());
            assert!(hint(&message).unwrap().ends_with(&expected), "{message}");
        }
        assert_eq!(
            hint(&format!(
                "error: path '{store}/sub/gone.nix' does not exist"
            )),
            None
        );
        assert_eq!(hint("error: something else"), None);
        let message = format!("error: path '{store}/sub/new.nix' does not exist");
        assert_eq!(git_hint(&message, "path:/x"), None);
    }
}
