//! The manual: its links lead somewhere, and the tests that it names exist.

use std::fs;
use std::path::{Path, PathBuf};

use regex_lite::Regex;

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
