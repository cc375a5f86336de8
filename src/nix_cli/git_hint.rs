//! The remedies for a file that a flake does not have: git does not know it, or it is outside.

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
    let root = repository_of(reference)?;
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

/// Returns a hint if a message misses a file beside the sources of the flake: a relative path has led out of them.
pub(super) fn outside_hint(message: &str, reference: &str) -> Option<String> {
    let quoted = Regex::new(r"'(/nix/[^'\n]+)'").ok()?;
    let in_store = Regex::new("^/nix/store/[a-z0-9]{32}-").ok()?;
    let is_missing = |line: &str| {
        let mut words = ["No such file", "does not exist", "is forbidden"].iter();
        words.any(|word| line.contains(word))
    };
    let outside = message
        .lines()
        .filter(|line| is_missing(line))
        .find_map(|line| Some(quoted.captures(line)?[1].to_owned()))
        .filter(|path| !in_store.is_match(path))?;
    let text = match repository_of(reference) {
        Some(root) => format!("the flake has the files of its repository, {root}"),
        None => "it is in no git repository, and so its folder is all that it has: \
                 `git init` in a folder above, and `git add` there, give it more"
            .to_owned(),
    };
    Some(format!(
        "\n\nA relative path leads out of the flake, to {outside}: {text}."
    ))
}

/// The folder of the git repository that a reference names.
fn repository_of(reference: &str) -> Option<String> {
    let address = reference.strip_prefix("git+file://")?;
    let (root, _) = address.split_once('?').unwrap_or((address, ""));
    Some(percent_decode_str(root).decode_utf8_lossy().into_owned())
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

    #[test]
    fn paths_that_lead_out_of_a_flake_are_named() {
        let store = format!("/nix/store/{}-source", "a".repeat(32));
        for (message, outside) in [
            (
                "error: opening file '/nix/store/x.py': No such file or directory",
                Some("/nix/store/x.py"),
            ),
            (
                "error: getting status of '/nix/v.nix': No such file or directory",
                Some("/nix/v.nix"),
            ),
            (
                "error: path '/nix/v.nix' does not exist",
                Some("/nix/v.nix"),
            ),
            ("error: the option '/nix/v.nix' is of no type", None),
            (&*format!("error: path '{store}/x' does not exist"), None),
            ("error: path '/etc/x' does not exist", None),
        ] {
            let hint = outside_hint(message, "path:/a");
            let named = outside.map(|path| format!("to {path}: it is in no git repository"));
            match named {
                Some(named) => assert!(hint.unwrap().contains(&named), "{message}"),
                None => assert_eq!(hint, None, "{message}"),
            }
        }
        let message = "error: path '/nix/v.nix' does not exist";
        let hint = outside_hint(message, "git+file:///a%20b?dir=c").unwrap();
        assert!(
            hint.ends_with("the files of its repository, /a b."),
            "{hint}"
        );
    }
}
