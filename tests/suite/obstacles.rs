//! Obstacles to running the tests of a nixpkgs as containers, by count: the table of docs/src/containers.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use snowglobe::language::check::container_obstacles;
use snowglobe::model::manifest::python_name;

use crate::harness::nixpkgs_tree;

/// How long the evaluation of a test may take, in seconds.
const LIMIT: &str = "90";

/// A test of nixpkgs, as `obstacles.nix` gives it.
#[derive(Deserialize)]
struct Surveyed {
    /// `None` if nodes of the test have obstacles.
    script: Option<String>,
    nodes: BTreeMap<String, Option<BTreeSet<String>>>,
}

impl Surveyed {
    /// Returns what keeps it from being containers: options, or methods and programs of its script.
    fn obstacles(&self) -> BTreeSet<String> {
        let options = self.nodes.values().flatten().flatten();
        let options: BTreeSet<String> = options.map(|option| format!("`{option}`")).collect();
        let names: Vec<String> = self.nodes.keys().map(|name| python_name(name)).collect();
        let script = self.script.as_deref().unwrap_or_default();
        let calls = container_obstacles(script, &names).into_iter();
        let calls = calls.map(|found| format!("the script's need of {}", found.lacks));
        options.into_iter().chain(calls).collect()
    }
}

fn expression() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/nixpkgs/obstacles.nix")
}

/// Evaluates the expression with these names of tests, or `null`.
fn evaluate(names: &str) -> Option<String> {
    let mut command = Command::new("timeout");
    command
        .args([LIMIT, "nix-instantiate", "--eval", "--strict", "--json"])
        .arg(expression())
        .args(["-I", &format!("nixpkgs={}", nixpkgs_tree())])
        .args(["--arg", "nixLib"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/nix-lib"))
        .args(["--arg", "names", names]);
    let output = command.output().unwrap();
    output
        .status
        .success()
        .then(|| String::from_utf8(output.stdout).unwrap())
}

/// The tests behind a name; none if it does not evaluate in time. What has been evaluated is kept: all take hours.
fn surveyed(name: &str, folder: &Path) -> Option<Vec<Surveyed>> {
    let kept = folder.join(format!("{name}.json"));
    if !kept.exists() {
        let text = evaluate(&format!("[ {name:?} ]")).unwrap_or_default();
        fs::write(&kept, text).unwrap();
    }
    serde_json::from_str(&fs::read_to_string(kept).unwrap()).ok()
}

#[test]
#[ignore = "evaluates all tests of the nixpkgs at SNOWGLOBE_NIXPKGS, which takes hours"]
fn most_tests_of_nixpkgs_can_be_containers() {
    let names: Vec<String> = serde_json::from_str(&evaluate("null").unwrap()).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../obstacles");
    fs::create_dir_all(&folder).unwrap();
    let found: Vec<_> = names
        .iter()
        .filter_map(|name| surveyed(name, &folder))
        .collect();
    let not_evaluated = names.len() - found.len();
    let tests: Vec<Surveyed> = found.into_iter().flatten().collect();
    // How many tests have an obstacle, and how many have no other one.
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut free = 0;
    for test in &tests {
        let obstacles = test.obstacles();
        free += usize::from(obstacles.is_empty());
        let is_only = usize::from(obstacles.len() == 1);
        for obstacle in obstacles {
            let (all, only) = counts.entry(obstacle).or_default();
            *all += 1;
            *only += is_only;
        }
    }
    let mut rows: Vec<_> = counts.into_iter().collect();
    rows.sort_by_key(|(_, (all, _))| std::cmp::Reverse(*all));
    let mut table = format!(
        "{} tests, {free} can be containers; {not_evaluated} names do not evaluate, or are no tests\n",
        tests.len()
    );
    table.push_str("\n| obstacle | tests | that have no other |\n|---|---|---|\n");
    for (obstacle, (all, only)) in rows {
        writeln!(table, "| {obstacle} | {all} | {only} |").unwrap();
    }
    fs::write(folder.join("table.md"), &table).unwrap();
    assert!(free * 10 >= tests.len() * 6, "{table}");
}
