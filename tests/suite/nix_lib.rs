//! The Nix side on its own: its unit tests, and what is generated from it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};
use snowglobe::model::manifest::python_name;

/// What an expression evaluates to, read from the project's folder.
fn evaluate(expression: &str) -> Value {
    let output = Command::new("nix-instantiate")
        .args(["--eval", "--strict", "--json", "-E", expression])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_units_of_nix_lib_do_what_they_should() {
    #[derive(Deserialize)]
    struct UnitTest {
        expr: Value,
        expected: Value,
    }
    let tests: BTreeMap<String, UnitTest> =
        serde_json::from_value(evaluate("import ./tests/nix")).unwrap();
    assert!(tests.len() > 20, "only {} tests were found", tests.len());
    for (name, UnitTest { expr, expected }) in tests {
        assert_eq!(expr, expected, "{name}");
    }
}

/// Files that are as others have written them: the user's page, and a stand-in for a nixpkgs.
const OF_OTHERS: [&str; 2] = ["fixtures/postgrest.nix", "fixtures/nixpkgs/legacy/"];

#[test]
fn nix_files_are_formatted() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_ours = |entry: &walkdir::DirEntry| {
        let path = entry.path().strip_prefix(project).unwrap();
        !path.starts_with("target") && !OF_OTHERS.iter().any(|other| path.starts_with(other))
    };
    let files = walkdir::WalkDir::new(project).into_iter();
    let files = files.filter_entry(is_ours).map(Result::unwrap);
    let files: Vec<_> = files
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "nix"))
        .collect();
    assert!(files.len() > 100, "only {} files were found", files.len());
    let mut wrong = Vec::new();
    for entry in files {
        let name = entry.path().strip_prefix(project).unwrap();
        let text = fs::read_to_string(entry.path()).unwrap();
        let formatted =
            nixfmt_rs::format(&text).unwrap_or_else(|error| panic!("{name:?}: {error:?}"));
        if formatted != text {
            let file = project.join("target/nixfmt").join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, formatted).unwrap();
            wrong.push(name.display().to_string());
        }
    }
    assert!(
        wrong.is_empty(),
        "not as nixfmt writes them: copy target/nixfmt over {wrong:#?}"
    );
}

#[test]
fn nix_and_rust_name_machines_alike() {
    let nodes = ["server", "web-server", "a.b", "3com", "_x", "x_1", "9", "ü"];
    let nodes_json = json!(nodes).to_string();
    let expression = format!(
        "map (import ./nix-lib/python-name.nix) (builtins.fromJSON {})",
        json!(nodes_json)
    );
    // Nix's strings are bytes, and a node's name is a host name: ASCII.
    let ascii = nodes.iter().filter(|node| node.is_ascii());
    let named: Vec<Value> = ascii.clone().map(|node| json!(python_name(node))).collect();
    let found = evaluate(&expression);
    assert_eq!(found.as_array().unwrap()[..named.len()], named);
}

/// The page of the manual is that of the options.
#[test]
fn the_list_of_options_is_current() {
    #[derive(Deserialize)]
    struct OptionEntry {
        name: String,
        r#type: String,
        default: Option<String>,
        description: String,
    }
    let options = evaluate("import ./nix-lib/builtin/guest/options-list.nix");
    let mut options: Vec<OptionEntry> = serde_json::from_value(options).unwrap();
    options.sort_by(|a, b| a.name.cmp(&b.name));
    let mut page = String::from(
        "# Options of the built-in guests\n\n\
         <!-- Generated from nix-lib/builtin/guest/modules: the test \
         nix_lib::the_list_of_options_is_current says how. -->\n\n\
         `<name>` stands for any name in a set, `*` for an item of a list. A default that depends on other options is left out.\n\n\
         | option | type | default | meaning |\n|---|---|---|---|\n",
    );
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    for option in &options {
        let default = option.default.as_deref().map(|text| format!("`{text}`"));
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            option.name,
            cell(&option.r#type),
            cell(&default.unwrap_or_default()),
            cell(&option.description)
        );
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documented = project.join("docs/src/guest-options.md");
    if fs::read_to_string(documented).is_ok_and(|documented| documented == page) {
        return;
    }
    fs::write(project.join("target/guest-options.md"), page).unwrap();
    panic!(
        "docs/src/guest-options.md is not that of the options: copy target/guest-options.md there"
    );
}
