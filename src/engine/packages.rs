//! Python packages that a test brings: which folders of the store go on `sys.path`, and which Python they need.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::cpython::{CPython, PythonError};
use super::input::{PythonPackages, ScriptInterpreter};

/// Where nixpkgs names the packages that a package needs.
const NEEDS: &str = "nix-support/propagated-build-inputs";

/// The folders of modules in packages, each with the name of its package.
fn python_packages(packages: &[PathBuf]) -> PythonPackages {
    let mut found = BTreeMap::new();
    // A Python has modules of its own.
    for package in packages.iter().filter(|path| program_in(path).is_none()) {
        for folder in module_folders(package) {
            found.insert(folder.to_string_lossy().into_owned(), name(package));
        }
    }
    found
}

/// The interpreter of a script, and why; and the packages that the script can import.
#[derive(Debug, Default)]
pub struct ChosenInterpreter {
    pub interpreter: ScriptInterpreter,
    pub packages: PythonPackages,
    /// The package that needs it; `None` if the user has chosen, or any would do.
    because_of: Option<String>,
}

impl ChosenInterpreter {
    /// Says it for people; `None` for the usual one.
    #[must_use]
    pub fn describe(&self) -> Option<String> {
        let ScriptInterpreter::CPython(python) = &self.interpreter else {
            return None;
        };
        let reason = self.because_of.as_ref();
        let reason = reason.map(|package| format!(", which {package} needs"));
        Some(format!(
            "the script runs in {python}{}",
            reason.unwrap_or_default()
        ))
    }
}

/// Chooses what runs the script of a test with these packages and those that they need: `wanted`, or the CPython that
/// they bring if one of them is machine code.
///
/// # Errors
/// Returns an error if they bring no CPython for their machine code, or one that is too old.
pub fn interpreter_of(
    wanted: Option<&CPython>,
    store_paths: &[PathBuf],
) -> Result<ChosenInterpreter, PythonError> {
    let brought = with_needs(store_paths);
    let mut chosen = ChosenInterpreter {
        packages: python_packages(&brought),
        ..ChosenInterpreter::default()
    };
    if let Some(python) = wanted {
        chosen.interpreter = ScriptInterpreter::CPython(python.clone());
    } else if let Some((package, module)) = machine_code(&chosen.packages) {
        let Some(program) = brought.iter().find_map(|path| program_in(path)) else {
            return Err(PythonError::NotBrought { package, module });
        };
        chosen.interpreter = ScriptInterpreter::CPython(CPython::find(&program)?);
        chosen.because_of = Some(package);
    }
    Ok(chosen)
}

/// The store paths and all that they need, each once.
fn with_needs(store_paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut waiting: VecDeque<PathBuf> = store_paths.iter().cloned().collect();
    let mut seen = Vec::new();
    while let Some(package) = waiting.pop_front() {
        if seen.contains(&package) {
            continue;
        }
        let needs = fs::read_to_string(package.join(NEEDS)).unwrap_or_default();
        waiting.extend(needs.split_whitespace().map(PathBuf::from));
        seen.push(package);
    }
    seen
}

/// The Python that a store path is, if it is one.
fn program_in(package: &Path) -> Option<PathBuf> {
    let program = package.join("bin/python3");
    program.is_file().then_some(program)
}

/// A module in machine code, with the name of its package.
fn machine_code(packages: &PythonPackages) -> Option<(String, PathBuf)> {
    packages.iter().find_map(|(folder, package)| {
        let files = WalkDir::new(folder).follow_links(true).into_iter();
        let mut modules = files.filter_map(Result::ok).map(DirEntry::into_path);
        let is_module = |path: &PathBuf| path.extension().is_some_and(|end| end == "so");
        Some((package.clone(), modules.find(is_module)?))
    })
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
    use crate::engine::cpython::PythonError;

    #[test]
    fn machine_code_needs_a_cpython_of_its_packages() {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("quick");
        let modules = package.join("lib/python3.13/site-packages");
        fs::create_dir_all(&modules).unwrap();
        let paths = std::slice::from_ref(&package);
        let chosen = interpreter_of(None, paths).unwrap();
        assert_eq!(chosen.interpreter, ScriptInterpreter::Embedded);
        let module = modules.join("quick.cpython-313-x86_64-linux-gnu.so");
        fs::write(&module, "").unwrap();
        let refused = interpreter_of(None, paths).unwrap_err();
        let package = "quick".to_owned();
        assert_eq!(refused, PythonError::NotBrought { package, module });
    }

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
        let found = python_packages(&with_needs(std::slice::from_ref(&package)));
        let names: Vec<&String> = found.values().collect();
        assert_eq!(names, ["needed-1.0", "plain"]);
    }
}
