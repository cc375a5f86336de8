//! Python packages that a test brings: which folders of the store go on `sys.path`.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use super::input::PythonPackages;

/// Where nixpkgs names the packages that a package needs.
const NEEDS: &str = "nix-support/propagated-build-inputs";

/// The folders of modules in these store paths and in those that they need,
/// each with the name of its package.
#[must_use]
pub fn python_packages(store_paths: &[PathBuf]) -> PythonPackages {
    let mut waiting: VecDeque<PathBuf> = store_paths.iter().cloned().collect();
    let mut found = BTreeMap::new();
    let mut seen = Vec::new();
    while let Some(package) = waiting.pop_front() {
        if seen.contains(&package) {
            continue;
        }
        for folder in module_folders(&package) {
            found.insert(folder.to_string_lossy().into_owned(), name(&package));
        }
        let needs = fs::read_to_string(package.join(NEEDS)).unwrap_or_default();
        waiting.extend(needs.split_whitespace().map(PathBuf::from));
        seen.push(package);
    }
    found
}

/// `lib/python3*/site-packages`, Debian's `dist-packages`, or the package itself.
fn module_folders(package: &Path) -> Vec<PathBuf> {
    let mut libraries = vec![package.join("lib")];
    libraries.push(package.join("usr/lib"));
    let pythons = libraries
        .iter()
        .filter_map(|library| fs::read_dir(library).ok())
        .flat_map(Iterator::flatten)
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("python3"))
        });
    let folders: Vec<PathBuf> = pythons
        .flat_map(|python| [python.join("site-packages"), python.join("dist-packages")])
        .filter(|folder| folder.is_dir())
        .collect();
    if folders.is_empty() && !package.join("lib").exists() {
        vec![package.to_owned()]
    } else {
        folders
    }
}

/// A store path's name, without its hash.
fn name(package: &Path) -> String {
    let name = package
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    match name.split_once('-') {
        Some((hash, rest)) if hash.len() == 32 => rest.to_owned(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_bring_what_they_need() {
        let folder = tempfile::tempdir().unwrap();
        let needed = folder
            .path()
            .join("0123456789abcdfghijklmnpqrsvwxyz-needed-1.0");
        let package = folder.path().join("plain");
        fs::create_dir_all(needed.join("lib/python3.13/site-packages")).unwrap();
        fs::create_dir_all(package.join("nix-support")).unwrap();
        fs::write(package.join(NEEDS), format!(" {} ", needed.display())).unwrap();
        let found = python_packages(std::slice::from_ref(&package));
        let names: Vec<&String> = found.values().collect();
        assert_eq!(names, ["needed-1.0", "plain"]);
    }
}
