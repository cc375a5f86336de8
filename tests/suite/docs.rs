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

#[test]
fn guarantees_name_tests_that_exist() {
    let page = fs::read_to_string(project().join("docs/src/promises.md")).unwrap();
    let name = Regex::new(r"`(\w+)::(\w+)`").unwrap();
    let mut seen = 0;
    for found in name.captures_iter(&page) {
        let of_suite = project().join("tests/suite");
        let tests = fs::read_to_string(of_suite.join(format!("{}.rs", &found[1])));
        // Modules have unit tests.
        let module = project().join("src").join(&found[1]).join(&found[2]);
        let (Ok(tests), false) = (
            tests,
            module.is_dir() || module.with_extension("rs").is_file(),
        ) else {
            continue;
        };
        seen += 1;
        assert!(
            tests.contains(&format!("fn {}()", &found[2])),
            "{}",
            &found[0]
        );
    }
    assert!(seen > 20, "only {seen} tests were found");
}
