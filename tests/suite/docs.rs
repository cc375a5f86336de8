//! The manual: its links lead somewhere, and the tests that it names exist.

use std::fs;
use std::path::{Path, PathBuf};

use regex_lite::Regex;

use crate::harness::Place;

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let manual = fs::read_dir(project().join("docs/src")).unwrap();
    let mut pages: Vec<PathBuf> = manual
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    for name in ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        pages.push(project().join(name));
    }
    pages
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(page: &str) -> Vec<String> {
    page.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let mut seen = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for found in link.captures_iter(&text) {
            let target = &found[1];
            if target.contains("://") {
                continue;
            }
            seen += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap_or(Path::new("")).join(file)
            };
            assert!(file.exists(), "{}: {target} does not exist", page.display());
            assert!(
                anchor.is_empty()
                    || anchors(&fs::read_to_string(&file).unwrap())
                        .iter()
                        .any(|heading| heading == anchor),
                "{}: {target} has no such heading",
                page.display()
            );
        }
    }
    assert!(seen > 40, "only {seen} links were found");
}

#[test]
fn the_scripts_of_the_manual_have_no_findings() {
    let page = fs::read_to_string(project().join("docs/src/script.md")).unwrap();
    let blocks: Vec<&str> = page.split("```python\n").skip(1).collect();
    assert!(blocks.len() > 7, "only {} scripts were found", blocks.len());
    for block in blocks {
        let script = block.split("```").next().unwrap();
        let place = Place::new();
        place.write("script.py", script);
        let nodes = ["client", "server"].into_iter();
        let nodes: Vec<&str> = nodes
            .filter(|name| {
                Regex::new(&format!(r"\b{name}\b"))
                    .unwrap()
                    .is_match(script)
            })
            .collect();
        let words = ["check", "--script", "script.py", "--nodes"];
        let ended = place.run(&[&words[..], &[&nodes.join(",")]].concat());
        let seen = ended.seen();
        assert_eq!(ended.stdout, "script.py: no findings\n", "{script}\n{seen}");
    }
}

/// The tutorial shows the files that the suite runs.
#[test]
fn the_tutorial_shows_files_that_run() {
    let page = fs::read_to_string(project().join("docs/src/tutorial.md")).unwrap();
    for (name, language) in [
        ("shop.nix", "nix"),
        ("helpers.py", "python"),
        ("snowglobe.toml", "toml"),
    ] {
        let file = project().join("fixtures/tutorial").join(name);
        let text = fs::read_to_string(file).unwrap();
        let block = format!("```{language}\n{text}```\n");
        assert!(page.contains(&block), "the tutorial does not show {name}");
    }
}

#[test]
fn the_tutorial_works_as_it_says() {
    let place = Place::new();
    for name in ["shop.nix", "helpers.py", "snowglobe.toml"] {
        let text = fs::read_to_string(project().join("fixtures/tutorial").join(name)).unwrap();
        place.write(name, &text);
    }
    let run = || place.run(&["run", "--backend", "container", "--cold", "shop.nix"]);
    let ended = run();
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert!(ended.stdout.contains("passed: shop ("), "{}", ended.seen());
    let shop = fs::read_to_string(place.path().join("shop.nix")).unwrap();
    place.write(
        "shop.nix",
        &shop.replace("== \"Welcome to the", "== \"Welcome to my"),
    );
    let ended = run();
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    let shown = "\n  helpers.page(client) = 'Welcome to the shop\\n'\nthe difference:\n  - left, + right\n  - Welcome to the shop\n  + Welcome to my shop\n";
    assert!(ended.stdout.contains(shown), "{}", ended.seen());
    place.write("shop.nix", &shop.replace("-h /etc/shop", "-h /etc/shops"));
    let ended = run();
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    let failed = "on server has failed";
    assert!(ended.stdout.contains(failed), "{}", ended.seen());
}

/// Whether a name of the table is a test of the suite that runs, or a module with tests.
fn names_tests(name: &str) -> bool {
    let text = |file: String| fs::read_to_string(project().join(file)).unwrap_or_default();
    let path = name.replace("::", "/");
    let has_tests = |text: String| text.contains("#[test]\n") || text.contains("#[tokio::test");
    let modules = [
        format!("tests/suite/{path}.rs"),
        format!("src/{path}.rs"),
        format!("src/{path}/mod.rs"),
    ];
    let is_test = name.split_once("::").is_some_and(|(file, test)| {
        // A line between the two could be one that keeps the test from running.
        text(format!("tests/suite/{file}.rs")).contains(&format!("#[test]\nfn {test}() {{"))
    });
    is_test || modules.into_iter().any(|file| has_tests(text(file)))
}

#[test]
fn guarantees_name_tests_that_exist() {
    let page = fs::read_to_string(project().join("docs/src/promises.md")).unwrap();
    let table = page.split("\n## ").next().unwrap();
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| guarantee"))
        .collect();
    assert!(rows.len() > 20, "only {} guarantees were found", rows.len());
    let name = Regex::new(r"`(\w+(?:::\w+)*)`").unwrap();
    for row in rows {
        let tests = row.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap();
        let names: Vec<&str> = name
            .captures_iter(tests)
            .map(|found| found.get(1).unwrap().as_str())
            .collect();
        assert!(!names.is_empty(), "no test is named: {row}");
        assert_eq!(names.len(), tests.matches('`').count() / 2, "{row}");
        for name in names {
            assert!(
                names_tests(name),
                "`{name}` is no test, and no module with tests"
            );
        }
    }
}
