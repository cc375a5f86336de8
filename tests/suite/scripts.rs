//! All scripts of a nixpkgs tree: no false error of the check, and the same
//! calls in the same order as under CPython.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use snowglobe::language::Vocabulary;
use snowglobe::language::check::{implied_modules, seeming_machines};
use snowglobe::source_map::{Segment, scripts};

use crate::harness::{Place, nixpkgs_tree};

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
    unsteady: usize,
    different: usize,
}

#[test]
#[ignore = "needs a nixpkgs tree and python3: SNOWGLOBE_NIXPKGS=PATH"]
fn scripts_of_nixpkgs_go_as_under_cpython() {
    let test = "scripts_of_nixpkgs_go_as_under_cpython";
    let tree = nixpkgs_tree();
    let place = Place::new();
    let mut counts = Counts::default();
    let mut wrong = Vec::new();
    for file in nix_files(&Path::new(&tree).join("nixos/tests")) {
        for template in scripts(&file) {
            if let Some(difference) = compare(&place, &fill(&template), &mut counts) {
                wrong.push(format!("{}: {difference}", file.display()));
            }
        }
    }
    let _ = writeln!(std::io::stderr(), "{test}: {counts:?}");
    assert!(counts.scripts > 0, "no script in {tree}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The script, where both take it for Python; what differs, if anything.
fn compare(place: &Place, filled: &Filled, counts: &mut Counts) -> Option<String> {
    let script = filled.text.as_str();
    let path = place.write("script.py", script);
    counts.scripts += 1;
    let checked = place.run(&["check", "--script", "script.py", "--format", "json"]);
    let findings: Vec<serde_json::Value> =
        serde_json::from_str(&checked.stdout).unwrap_or_else(|_| panic!("{}", checked.seen()));
    let error = findings
        .iter()
        .find(|finding| finding["level"] == "error" && !filled.stands_in(finding));
    let ours = place.run(&["mock-run", "--script", "script.py", "--timeout", LIMIT]);
    let vocabulary = Vocabulary::standard();
    let modules = implied_modules(script, vocabulary).join(",");
    let machines = seeming_machines(script, vocabulary);
    let theirs = cpython(&path, &modules, &machines);
    counts.under_cpython += usize::from(theirs.0);
    counts.under_ours += usize::from(ours.code == Some(0));
    if theirs.0
        && let Some(error) = error
    {
        counts.errors += 1;
        return Some(format!("runs, and has the error {error}"));
    }
    let same_end = theirs.0 == (ours.code == Some(0));
    if same_end && calls(&theirs.1) == calls(&ours.stdout) {
        return None;
    }
    // What is drawn by lot, read off the clock or left to threads differs from
    // run to run.
    let again = cpython(&path, &modules, &machines);
    let threads = script.contains("hread") && sorted(&theirs.1) == sorted(&ours.stdout);
    if same_end && (threads || calls(&again.1) != calls(&theirs.1)) {
        counts.unsteady += 1;
        return None;
    }
    counts.different += 1;
    Some(format!("differs: {}", ours.stderr))
}

fn calls(output: &str) -> Vec<serde_json::Value> {
    let lines = output.lines();
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn sorted(output: &str) -> Vec<String> {
    let mut calls: Vec<String> = calls(output).iter().map(ToString::to_string).collect();
    calls.sort();
    calls
}

/// Whether the script passes under CPython, and the calls that it makes.
fn cpython(script: &Path, modules: &str, nodes: &[String]) -> (bool, String) {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("timeout")
        .args([LIMIT, "python3"])
        .arg(project.join("tests/suite/cpython_mock.py"))
        .arg(project.join("src/language/api"))
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

/// A script whose gaps are filled, with their places.
struct Filled {
    text: String,
    gaps: Vec<usize>,
}

impl Filled {
    /// Whether a finding is about what was put into a gap.
    fn stands_in(&self, finding: &serde_json::Value) -> bool {
        let (start, end) = (self.offset(&finding["start"]), self.offset(&finding["end"]));
        self.gaps.iter().any(|gap| (start..end).contains(gap))
    }

    fn offset(&self, position: &serde_json::Value) -> usize {
        let number = |name: &str| usize::try_from(position[name].as_u64().unwrap()).unwrap() - 1;
        let lines = self.text.split_inclusive('\n');
        let before: usize = lines.take(number("line")).map(str::len).sum();
        let mut chars = self.text[before..].char_indices();
        chars
            .nth(number("column"))
            .map_or(self.text.len(), |(offset, _)| before + offset)
    }
}

fn fill(template: &[Segment]) -> Filled {
    let mut filled = Filled {
        text: String::new(),
        gaps: Vec::new(),
    };
    for segment in template {
        match segment {
            Segment::Literal { text, .. } => filled.text.push_str(text),
            Segment::Gap { .. } | Segment::Choice(_) => {
                filled.gaps.push(filled.text.len());
                filled.text.push_str(GAP);
            }
        }
    }
    filled
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
