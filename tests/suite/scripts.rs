//! All scripts of a nixpkgs tree: no false error of the check, and the same
//! calls in the same order as under CPython.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use snowglobe::language::Vocabulary;
use snowglobe::language::check::{implied_modules, seeming_machines};
use snowglobe::origin::{Segment, scripts};

use crate::harness::{Place, skipped};

/// What stands in for what Nix would compute.
const GAP: &str = "1";

/// Seconds that a script may take under either interpreter.
const LIMIT: &str = "60";

/// How one script went.
#[derive(Debug, Default)]
struct Counts {
    scripts: usize,
    under_cpython: usize,
    under_ours: usize,
    errors: usize,
    different: usize,
}

#[test]
fn scripts_of_nixpkgs_go_as_under_cpython() {
    let test = "scripts_of_nixpkgs_go_as_under_cpython";
    let Ok(tree) = std::env::var("SNOWGLOBE_NIXPKGS") else {
        return skipped(test, "SNOWGLOBE_NIXPKGS names no nixpkgs");
    };
    if Command::new("python3").arg("--version").output().is_err() {
        return skipped(test, "python3 is not on this machine");
    }
    let place = Place::new();
    let mut counts = Counts::default();
    let mut wrong = Vec::new();
    for file in nix_files(&Path::new(&tree).join("nixos/tests")) {
        for template in scripts(&file) {
            let script = fill(&template);
            if let Some(difference) = compare(&place, &script, &mut counts) {
                wrong.push(format!("{}: {difference}", file.display()));
            }
        }
    }
    let _ = writeln!(std::io::stderr(), "{test}: {counts:?}");
    assert!(counts.scripts > 0, "no script in {tree}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The script, where both take it for Python; what differs, if anything.
fn compare(place: &Place, script: &str, counts: &mut Counts) -> Option<String> {
    let path = place.write("script.py", script);
    counts.scripts += 1;
    let checked = place.run(&["check", "--script", "script.py", "--format", "json"]);
    let findings: Vec<serde_json::Value> =
        serde_json::from_str(&checked.stdout).unwrap_or_default();
    let error = findings.iter().find(|finding| finding["level"] == "error");
    let ours = place.run(&["mock-run", "--script", "script.py", "--timeout", LIMIT]);
    let vocabulary = Vocabulary::standard();
    let modules = implied_modules(script, vocabulary).join(",");
    let theirs = cpython(&path, &modules, &seeming_machines(script, vocabulary));
    counts.under_cpython += usize::from(theirs.0);
    counts.under_ours += usize::from(ours.code == Some(0));
    if theirs.0
        && let Some(error) = error
    {
        counts.errors += 1;
        return Some(format!("runs, and has the error {error}"));
    }
    let lines = |text: &str| -> Vec<serde_json::Value> {
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    };
    if theirs.0 != (ours.code == Some(0)) || lines(&theirs.1) != lines(&ours.stdout) {
        counts.different += 1;
        return Some(format!("differs: {}", ours.stderr));
    }
    None
}

/// Whether the script passes under CPython, and the calls that it makes.
fn cpython(script: &Path, modules: &str, nodes: &[String]) -> (bool, String) {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("timeout")
        .args([LIMIT, "python3"])
        .arg(project.join("tests/suite/cpython_mock.py"))
        .arg(project.join("src/language/words"))
        .arg(script)
        .arg(modules)
        .args(nodes)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

fn fill(template: &[Segment]) -> String {
    let text = |segment: &Segment| match segment {
        Segment::Literal { text, .. } => text.clone(),
        Segment::Gap { .. } => GAP.to_owned(),
    };
    template.iter().map(text).collect()
}

fn nix_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "nix") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
