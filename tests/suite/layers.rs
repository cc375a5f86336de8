//! The layers of the crate: no import runs upward, and no circle is among the files of a module.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
use syn::visit::Visit;

/// From the lowest to the highest: docs/src/architecture.md says what each one does.
const LAYERS: [&[&str]; 26] = [
    &[
        "model",
        "child",
        "async_file",
        "passed_files",
        "decoder",
        "bounded_file",
        "suggestion",
    ],
    &["raw_terminal"],
    &["prompt_output"],
    &["event_bus", "digest", "folders", "full_disk"],
    &["confined"],
    &["output_folder"],
    &["source_map", "language", "filter"],
    &["script_modules"],
    &["config", "history"],
    &["input_file", "nix_cli", "network", "agent", "ocr"],
    &["guest", "backend"],
    &["qemu", "container"],
    &["backends"],
    &["machine"],
    &["checkpoint"],
    &["host"],
    &["replay"],
    &["engine"],
    &["repl"],
    &["report"],
    &["session"],
    &["runner"],
    &["compat"],
    &["lsp"],
    &["cli"],
    &["main", "lib", "schemas"],
];

/// A file of `src`, by the module that it is.
struct SourceFile {
    path: PathBuf,
    is_parent: bool,
    imports: Vec<String>,
}

/// Collects paths that begin with `crate`, `super` or `self`, resolved to the crate's root.
struct Imports<'a> {
    module: &'a [String],
    found: Vec<String>,
}

impl Imports<'_> {
    fn add(&mut self, path: &[String]) {
        let mut base = self.module.to_vec();
        let mut rest = path;
        match path.first().map(String::as_str) {
            Some("crate") => {
                base.clear();
                rest = &path[1..];
            }
            Some("self") => rest = &path[1..],
            Some("super") => {
                while rest.first().is_some_and(|part| part == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            // Of a `mod.rs`, or of another crate.
            _ => {}
        }
        base.extend_from_slice(rest);
        self.found.push(base.join("::"));
    }

    fn add_tokens(&mut self, tokens: proc_macro2::TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut follows_colons = false;
        for token in tokens {
            match token {
                proc_macro2::TokenTree::Group(group) => self.add_tokens(group.stream()),
                proc_macro2::TokenTree::Punct(mark) if mark.as_char() == ':' => {
                    follows_colons = true;
                    continue;
                }
                proc_macro2::TokenTree::Ident(name) => {
                    if !follows_colons {
                        self.add_rooted(&path);
                        path.clear();
                    }
                    path.push(name.to_string());
                    follows_colons = false;
                    continue;
                }
                _ => {}
            }
            self.add_rooted(&path);
            path.clear();
            follows_colons = false;
        }
        self.add_rooted(&path);
    }

    /// Adds a path of several parts that says where it begins.
    fn add_rooted(&mut self, path: &[String]) {
        let begins = path.first().map(String::as_str);
        if path.len() > 1 && matches!(begins, Some("crate" | "super" | "self")) {
            self.add(path);
        }
    }

    fn add_tree(&mut self, prefix: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.add_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.add(&with(&name.ident)),
            syn::UseTree::Rename(rename) => self.add(&with(&rename.ident)),
            syn::UseTree::Glob(_) => self.add(prefix),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_tree(prefix, tree);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Imports<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        if parts.len() > 1 {
            self.add(&parts);
        }
        syn::visit::visit_path(self, path);
    }

    /// The arguments of a macro are tokens: a path in them begins with `crate`, `super` or `self`.
    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        self.add_tokens(invocation.tokens.clone());
        syn::visit::visit_macro(self, invocation);
    }

    /// Unit tests may use what they want.
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.ident != "tests" {
            syn::visit::visit_item_mod(self, item);
        }
    }
}

fn read_folder(folder: &Path, module: &[String], files: &mut BTreeMap<String, SourceFile>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            read_folder(&path, &[module, &[name]].concat(), files);
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests" {
            let is_parent = name == "mod";
            let module = if is_parent {
                module.to_vec()
            } else {
                [module, &[name]].concat()
            };
            let mut imports = Imports {
                module: &module,
                found: Vec::new(),
            };
            let text = fs::read_to_string(&path).unwrap();
            imports.visit_file(&syn::parse_file(&text).unwrap());
            let imports = imports.found;
            files.insert(
                module.join("::"),
                SourceFile {
                    path,
                    is_parent,
                    imports,
                },
            );
        }
    }
}

fn source_files() -> BTreeMap<String, SourceFile> {
    let mut files = BTreeMap::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    read_folder(&source, &[], &mut files);
    files
}

/// The file's module that a path leads into, if it is one of this crate.
fn module_of<'a>(files: &'a BTreeMap<String, SourceFile>, path: &str) -> Option<&'a str> {
    let mut path = path;
    loop {
        if let Some((module, _)) = files.get_key_value(path) {
            return Some(module);
        }
        path = &path[..path.rfind("::")?];
    }
}

fn top(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

fn layer(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|layer| layer.contains(&top(module)))
        .unwrap_or_else(|| panic!("{module} is in no layer of tests/suite/layers.rs"))
}

#[test]
fn no_import_runs_upward() {
    let files = source_files();
    let mut seen = 0;
    for (module, file) in &files {
        for import in &file.imports {
            let Some(target) = module_of(&files, import) else {
                continue;
            };
            if top(target) != top(module) {
                seen += 1;
                assert!(
                    layer(target) < layer(module),
                    "{} imports {target}, which is in no layer below",
                    file.path.display()
                );
            }
        }
    }
    assert!(seen > 100, "only {seen} imports were found");
}

#[test]
fn no_circle_is_among_the_files_of_a_module() {
    let files = source_files();
    let mut graph = DiGraphMap::<&str, ()>::new();
    for (module, file) in &files {
        let targets = file
            .imports
            .iter()
            .filter_map(|import| module_of(&files, import));
        for target in targets {
            // A `mod.rs` names its files, and has what they share.
            if target != module && !file.is_parent && !files[target].is_parent {
                graph.add_edge(module, target, ());
            }
        }
    }
    assert!(graph.edge_count() > 100, "{} imports", graph.edge_count());
    for circle in tarjan_scc(&graph) {
        assert!(circle.len() == 1, "these import each other: {circle:?}");
    }
}
