//! The modules of Python beside a test, which its script can import.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use rustpython_vm::compiler::ast::visitor::{self, Visitor};
use rustpython_vm::compiler::ast::{self, Stmt};
use rustpython_vm::compiler::parser;

use walkdir::WalkDir;

use crate::bounded_file::read_text;
use crate::language::check::{
    self, Finding, ModuleNames, Parts, SourceKind, TestContext, names_of_module,
};
use crate::model::manifest::Manifest;
use crate::source_map::{ScriptOrigin, SourceMap};

/// The largest module that is read, and how many modules of a script.
const MOST_BYTES: u64 = 4 << 20;
const MOST_MODULES: usize = 200;

/// How deep modules are looked for, and in how many files and folders at most.
const DEEPEST: usize = 3;
const MOST_ENTRIES: usize = 2000;

/// The parent of all store paths, which is no folder of tests.
const STORE: &str = "/nix/store";

/// A module, or a package of modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModulePlace {
    Module(PathBuf),
    /// A folder with an `__init__.py`.
    Package(PathBuf),
    /// A folder without one.
    Folder(PathBuf),
}

/// A module that a script imports, or another module of it.
#[derive(Debug)]
pub struct ScriptModule {
    /// The name with those of its packages: `helpers.web`.
    pub name: String,
    pub source_map: SourceMap,
}

/// Returns the folders whose modules a script can import: those of the files that it comes from, and of the test's file.
#[must_use]
pub fn module_folders(script: &SourceMap) -> Vec<PathBuf> {
    let origin = match script.origin() {
        ScriptOrigin::Test { file, .. } | ScriptOrigin::File(file) => Some(file.clone()),
        ScriptOrigin::Unknown => None,
    };
    let mut folders: Vec<PathBuf> = Vec::new();
    for file in script.files().into_iter().chain(origin) {
        let Some(folder) = file.parent().filter(|folder| *folder != Path::new(STORE)) else {
            continue;
        };
        if !folders.iter().any(|other| other == folder) {
            folders.push(folder.to_owned());
        }
    }
    folders
}

/// Finds a module by the last part of its name.
#[must_use]
pub fn find_module(name: &str, folders: &[PathBuf]) -> Option<ModulePlace> {
    let is_name = |name: &str| {
        let mut characters = name.chars();
        characters
            .next()
            .is_some_and(|c| c.is_alphabetic() || c == '_')
            && characters.all(|c| c.is_alphanumeric() || c == '_')
    };
    folders.iter().filter(|_| is_name(name)).find_map(|folder| {
        let package = folder.join(name);
        let module = folder.join(format!("{name}.py"));
        if package.join("__init__.py").is_file() {
            Some(ModulePlace::Package(package.join("__init__.py")))
        } else if module.is_file() {
            Some(ModulePlace::Module(module))
        } else if holds_modules(&package) {
            Some(ModulePlace::Folder(package))
        } else {
            None
        }
    })
}

fn holds_modules(folder: &Path) -> bool {
    let Ok(entries) = folder.read_dir() else {
        return false;
    };
    let mut names = entries.flatten().map(|entry| entry.path());
    names.any(|path| path.extension().is_some_and(|it| it == "py"))
}

/// Returns the modules beside a Nix file, and those in the folders there: a script may import any of them.
#[must_use]
pub fn modules_beside(file: &Path) -> Vec<PathBuf> {
    let is_nix = file.extension().is_some_and(|extension| extension == "nix");
    let Some(folder) = file.parent().filter(|_| is_nix) else {
        return Vec::new();
    };
    let entries = WalkDir::new(folder).max_depth(DEEPEST).into_iter();
    let entries = entries.filter_entry(|entry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() == 0 || !name.starts_with('.')
    });
    let files = entries.take(MOST_ENTRIES).flatten();
    let files = files.filter(|entry| entry.file_type().is_file());
    let files = files.map(walkdir::DirEntry::into_path);
    files
        .filter(|path| path.extension().is_some_and(|it| it == "py"))
        .collect()
}

/// Reads a module.
///
/// # Errors
/// Returns an error if it is no text, no file, or too large.
pub fn read_module(file: &Path) -> std::io::Result<SourceMap> {
    let text = read_text(file, MOST_BYTES)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(SourceMap::of_file(text.to_owned(), file))
}

/// Returns the modules that a script imports from its folders, and those that these import, each once.
#[must_use]
pub fn imported_modules(script: &SourceMap) -> Vec<ScriptModule> {
    let folders = module_folders(script);
    if folders.is_empty() {
        return Vec::new();
    }
    let mut known = BTreeSet::new();
    let mut waiting: VecDeque<String> = imports(script.script(), None).into();
    let mut found = Vec::new();
    while let Some(name) = waiting.pop_front() {
        if found.len() == MOST_MODULES || !known.insert(name.clone()) {
            continue;
        }
        let Some((file, package)) = place_of(&name, &folders) else {
            continue;
        };
        if let Ok(source_map) = read_module(&file) {
            waiting.extend(imports(source_map.script(), Some(&package)));
            found.push(ScriptModule { name, source_map });
        }
    }
    found
}

/// Returns the file of a module by its whole name, and the package that its relative imports begin in.
fn place_of(name: &str, folders: &[PathBuf]) -> Option<(PathBuf, String)> {
    let mut folders = folders.to_vec();
    let parts: Vec<&str> = name.split('.').collect();
    for (index, part) in parts.iter().enumerate() {
        let is_last = index + 1 == parts.len();
        let package = |count: usize| parts[..count].join(".");
        match find_module(part, &folders)? {
            ModulePlace::Module(file) if is_last => return Some((file, package(index))),
            ModulePlace::Package(file) if is_last => return Some((file, package(index + 1))),
            ModulePlace::Package(file) => folders = vec![file.parent()?.to_owned()],
            ModulePlace::Folder(folder) if !is_last => folders = vec![folder],
            ModulePlace::Module(_) | ModulePlace::Folder(_) => return None,
        }
    }
    None
}

/// Returns the whole names that a text imports, with those of their packages, and names in modules that may be modules.
fn imports(source: &str, package: Option<&str>) -> Vec<String> {
    let Ok(parsed) = parser::parse_module(source) else {
        return Vec::new();
    };
    let mut imports = Imports {
        package,
        found: Vec::new(),
    };
    imports.visit_body(parsed.suite());
    imports.found
}

struct Imports<'p> {
    package: Option<&'p str>,
    found: Vec<String>,
}

impl Imports<'_> {
    /// Adds a name, and before it the packages that it is in.
    fn add(&mut self, name: &str) {
        let ends = name.match_indices('.').map(|(end, _)| end);
        for end in ends.chain([name.len()]) {
            self.found.push(name[..end].to_owned());
        }
    }
}

impl<'a> Visitor<'a> for Imports<'_> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::Import(import) => {
                for alias in &import.names {
                    self.add(alias.name.as_str());
                }
            }
            Stmt::ImportFrom(import) => {
                if let Some(base) = absolute(import, self.package) {
                    self.add(&base);
                    for alias in &import.names {
                        self.found.push(format!("{base}.{}", alias.name));
                    }
                }
            }
            other => visitor::walk_stmt(self, other),
        }
    }
}

/// Returns the whole name of the module that a statement imports from.
fn absolute(import: &ast::StmtImportFrom, package: Option<&str>) -> Option<String> {
    let module = import.module.as_ref().map(ast::Identifier::as_str);
    if import.level == 0 {
        return module.map(str::to_owned);
    }
    let mut base: Vec<&str> = package?
        .split('.')
        .filter(|part| !part.is_empty())
        .collect();
    let up = usize::try_from(import.level).ok()?.checked_sub(1)?;
    base.truncate(base.len().checked_sub(up)?);
    base.extend(module);
    (!base.is_empty()).then(|| base.join("."))
}

/// Returns the names in modules, for the check of what imports them.
#[must_use]
pub fn names_in(modules: &[ScriptModule]) -> BTreeMap<String, ModuleNames> {
    let names = modules.iter();
    names
        .map(|module| {
            let names = names_of_module(module.source_map.script());
            (module.name.clone(), names)
        })
        .collect()
}

/// Returns the modules and packages in the folders of a script; `None` if packages of the test may bring others.
#[must_use]
pub fn modules_of_folders(script: &SourceMap, manifest: &Manifest) -> Option<BTreeSet<String>> {
    if !manifest.python_packages.is_empty() {
        return None;
    }
    let mut names = BTreeSet::new();
    for folder in module_folders(script) {
        for entry in folder.read_dir().ok()?.flatten() {
            let path = entry.path();
            let is_module = path.is_dir() || path.extension().is_some_and(|it| it == "py");
            names.extend(
                path.file_stem()
                    .filter(|_| is_module)
                    .map(|stem| stem.to_string_lossy().into_owned()),
            );
        }
    }
    Some(names)
}

/// Checks the modules of a script.
#[must_use]
pub fn check_modules(modules: &[ScriptModule], parts: Parts) -> Vec<(&SourceMap, Vec<Finding>)> {
    let context = TestContext {
        kind: SourceKind::Module,
        modules: names_in(modules),
        ..TestContext::default()
    };
    let checked = modules.iter().map(|module| {
        let source_map = &module.source_map;
        (
            source_map,
            check::check(source_map.script(), &context, parts),
        )
    });
    checked.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn modules_are_found_with_what_they_import() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("helpers.py", "import json\nfrom tools.web import get\n");
        write("tools/__init__.py", "");
        write("tools/web.py", "from . import net\nfrom .net import dial\n");
        write("tools/net.py", "from ..escape import x\nimport helpers\n");
        write("plain/part.py", "");
        write("unused.py", "");
        let test = folder.path().join("test.nix");
        let script = "def f():\n    import helpers\nfrom plain import part\nimport os, missing\n";
        let script = SourceMap::of_test(script.to_owned(), &test, "");
        let modules = imported_modules(&script);
        let mut names: Vec<&str> = modules.iter().map(|module| &*module.name).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["helpers", "plain.part", "tools", "tools.net", "tools.web"]
        );
    }

    #[test]
    fn names_lead_out_of_no_folder() {
        let folders = [PathBuf::from("/")];
        for name in ["..", "etc/passwd", "", "a.b", "/etc"] {
            assert_eq!(find_module(name, &folders), None);
        }
    }

    #[test]
    fn the_store_is_no_folder_of_tests() {
        let file = Path::new("/nix/store/abc-test-script");
        let script = SourceMap::of_file(String::new(), file);
        assert_eq!(module_folders(&script), Vec::<PathBuf>::new());
    }
}
