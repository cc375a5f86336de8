//! The reference of a flake that a user gives, as the command line of Nix reads it (src/libflake/flakeref.cc): a folder in
//! a git repository is what git knows of it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The characters that a path in a URL has as they are.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

const SCHEMES: [&str; 8] = [
    "path:",
    "git+",
    "github:",
    "gitlab:",
    "sourcehut:",
    "flake:",
    "tarball+",
    "hg+",
];

/// Whether a text begins as references of flakes do.
pub fn is_reference(text: &str) -> bool {
    SCHEMES.iter().any(|scheme| text.starts_with(scheme))
}

/// Returns a reference whose folders are absolute: `builtins.getFlake` takes no others.
///
/// # Errors
/// Returns an error if the folder is no flake, and why.
pub fn absolute_reference(reference: &str) -> Result<String, String> {
    let (address, parameters) = match reference.split_once('?') {
        Some((address, parameters)) => (address, parameters),
        None => (reference, ""),
    };
    if let Some(folder) = address.strip_prefix("path:") {
        let folder = canonical(folder)?;
        return Ok(with_parameters("path:", &folder, parameters));
    }
    let is_folder = address.is_empty() || address.starts_with(['.', '/']);
    if is_reference(reference) || !is_folder {
        return Ok(reference.to_owned());
    }
    let folder = canonical(address)?;
    let has_inner = parameters.split('&').any(|it| it.starts_with("dir="));
    let folder = if has_inner {
        folder
    } else {
        flake_around(&folder)?
    };
    // Nix 2.8 does not read the folder of such a repository, but clones its last commit.
    let repository = folder
        .ancestors()
        .find(|it| it.join(".git").exists())
        .filter(|it| encoded(it) == it.to_string_lossy());
    let Some(repository) = repository else {
        return Ok(with_parameters("path:", &folder, parameters));
    };
    let mut parameters: Vec<String> = parameters
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(str::to_owned)
        .collect();
    let inner = folder.strip_prefix(repository).unwrap_or(Path::new(""));
    if !inner.as_os_str().is_empty() {
        if has_inner {
            return Err(format!(
                "the flake {}: `dir` cannot be given, since the folder is in the repository {}",
                folder.display(),
                repository.display()
            ));
        }
        parameters.push(format!("dir={}", encoded(inner)));
    }
    if repository.join(".git/shallow").exists() {
        parameters.push("shallow=1".to_owned());
    }
    Ok(with_parameters(
        "git+file://",
        repository,
        &parameters.join("&"),
    ))
}

fn with_parameters(scheme: &str, folder: &Path, parameters: &str) -> String {
    let mark = if parameters.is_empty() { "" } else { "?" };
    format!("{scheme}{}{mark}{parameters}", encoded(folder))
}

fn encoded(path: &Path) -> String {
    utf8_percent_encode(&path.to_string_lossy(), PLAIN).to_string()
}

fn canonical(folder: &str) -> Result<PathBuf, String> {
    let folder = if folder.is_empty() { "." } else { folder };
    fs::canonicalize(folder).map_err(|error| format!("the flake {folder}: {error}"))
}

/// The folder itself, or the nearest one above it that has a flake.nix. The search ends at a repository, and where
/// another file system begins.
fn flake_around(folder: &Path) -> Result<PathBuf, String> {
    let device = |folder: &Path| fs::metadata(folder).map(|metadata| metadata.dev()).ok();
    for above in folder.ancestors() {
        if above.join("flake.nix").exists() {
            return Ok(above.to_owned());
        }
        if above.join(".git").exists() || device(above) != device(folder) {
            break;
        }
    }
    Err(format!(
        "the flake {}: there is no flake.nix, and none in a folder above in its repository",
        folder.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &Path, parameters: &str) -> Result<String, String> {
        absolute_reference(&format!("{}{parameters}", path.display()))
    }

    #[test]
    fn folders_of_repositories_are_what_git_knows() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        let repository = root.join("a-b");
        let inner = repository.join("sub/é");
        fs::create_dir_all(inner.join("deep")).unwrap();
        fs::write(inner.join("flake.nix"), "").unwrap();
        let encoded_inner = format!("{}/a-b/sub/%C3%A9", root.display());
        assert_eq!(of(&inner, "").unwrap(), format!("path:{encoded_inner}"));
        // The `.git` of a linked worktree is a file.
        fs::write(repository.join(".git"), "gitdir: elsewhere").unwrap();
        let expected = format!("git+file://{}/a-b?dir=sub/%C3%A9", root.display());
        assert_eq!(of(&inner, "").unwrap(), expected);
        assert_eq!(of(&inner.join("deep"), "").unwrap(), expected);
        let with_submodules = format!(
            "git+file://{}/a-b?submodules=1&dir=sub/%C3%A9",
            root.display()
        );
        assert_eq!(of(&inner, "?submodules=1").unwrap(), with_submodules);
        assert!(
            of(&repository, "")
                .unwrap_err()
                .contains("there is no flake.nix")
        );
        assert!(
            of(&inner, "?dir=x")
                .unwrap_err()
                .contains("`dir` cannot be given")
        );
        fs::remove_file(repository.join(".git")).unwrap();
        fs::create_dir(repository.join(".git")).unwrap();
        fs::write(repository.join(".git/shallow"), "").unwrap();
        assert_eq!(of(&inner, "").unwrap(), format!("{expected}&shallow=1"));
        let odd = root.join("c d");
        fs::create_dir_all(odd.join(".git")).unwrap();
        fs::write(odd.join("flake.nix"), "").unwrap();
        let expected = format!("path:{}/c%20d", root.display());
        assert_eq!(of(&odd, "").unwrap(), expected);
        // What the user asks for.
        let path = format!("path:{}", inner.display());
        assert_eq!(
            absolute_reference(&path).unwrap(),
            format!("path:{encoded_inner}")
        );
        for other in ["github:a/b", "nixpkgs", "git+file:.?dir=x"] {
            assert_eq!(absolute_reference(other).unwrap(), other);
        }
        assert!(
            absolute_reference("/no/such")
                .unwrap_err()
                .starts_with("the flake /no/such: ")
        );
    }
}
