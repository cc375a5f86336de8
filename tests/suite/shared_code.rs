//! Modules of Python beside a test.

use std::fs;
use std::path::Path;

use insta::assert_snapshot;

use crate::harness::{Ended, Place, fixture_path, signal};

fn run(attribute: &str) -> Ended {
    let place = Place::new();
    place.run_fixture("shared/tests.nix", &["-A", attribute, "--cold"])
}

#[test]
fn modules_and_packages_are_imported() {
    let ended = run("good");
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let missing = "No module named 'missing'\n";
    assert!(ended.stdout.contains(missing), "{}", ended.seen());
    // Nothing is left beside the user's files.
    assert!(!fixture_path("shared/__pycache__").exists());
}

#[test]
fn an_error_in_a_module_is_shown_in_its_file() {
    assert_snapshot!(run("error").seen());
}

#[test]
fn assertions_of_modules_explain_themselves() {
    assert_snapshot!(run("assertion").seen());
}

#[test]
fn names_that_a_module_lacks_are_found() {
    assert_snapshot!(run("typo").seen());
}

#[test]
fn modules_are_checked_as_scripts_are() {
    assert_snapshot!(run("typo-inside").seen());
    let place = Place::new();
    let file = fixture_path("shared/tests.nix");
    let ended = place.run(&[
        "check",
        "--nixpkgs",
        "builtin",
        file.to_str().unwrap(),
        "-A",
        "typo-inside",
        "--format",
        "json",
    ]);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    let findings: Vec<serde_json::Value> = serde_json::from_str(&ended.stdout).unwrap();
    let codes: Vec<&str> = findings
        .iter()
        .map(|it| it["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["unknown-name", "unknown-attribute", "unknown-name"]);
    for finding in findings {
        let file = finding["file"].as_str().unwrap();
        assert!(file.ends_with("shared/mistyped.py"), "{finding}");
    }
}

#[test]
fn a_script_of_its_own_imports_from_its_folder() {
    let place = Place::new();
    place.write(
        "helpers.py",
        "def hello(machine):\n    machine.succeed('hello')\n",
    );
    place.write("script.py", "import helpers\nhelpers.hello(machine)\n");
    let ended = place.run(&["mock-run", "--script", "script.py", "--nodes", "machine"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert!(ended.stdout.contains("hello"), "{}", ended.seen());
}

#[test]
fn a_module_that_changes_runs_the_test_again() {
    let place = Place::new();
    place.write(
        "test.nix",
        r#"
          (import <nixpkgs> { }).nixosTest {
            name = "watched";
            nodes.machine.virtualisation.guest = "tiny";
            testScript = "import helpers";
          }
        "#,
    );
    place.write("helpers.py", "print('said first')\n");
    let child = place.start_shown(place.command(&["watch", "--nixpkgs", "builtin", "test.nix"]));
    place.wait_for_text("shown", "said first");
    place.wait_for_text("shown", "watching 2 files: ");
    place.write("helpers.py", "print('said second')\n");
    place.wait_for_text("shown", "said second");
    signal(child.id(), "INT");
    place.finish(child);
    place.assert_tidy();
}

#[test]
fn a_module_that_is_nowhere_is_found_before_anything_is_built() {
    let place = Place::new();
    place.write(
        "test.nix",
        r#"
          (import <nixpkgs> { }).nixosTest {
            name = "nowhere";
            nodes.machine.virtualisation.guest = "tiny";
            testScript = "import helper\nhelper.hello(machine)\n";
          }
        "#,
    );
    place.write(
        "helpers.py",
        "def hello(machine):\n    machine.succeed('true')\n",
    );
    for command in ["check", "run"] {
        let ended = place.run(&[command, "--nixpkgs", "builtin", "test.nix"]);
        assert_eq!(ended.code, Some(2), "{}", ended.seen());
        let message = "error: there is no module `helper`: it is not Python's own, not beside the test, and the test has no `extraPythonPackages` [missing-module]";
        assert!(ended.seen().contains(message), "{}", ended.seen());
        let help = "did you mean `helpers`?";
        assert!(ended.seen().contains(help), "{}", ended.seen());
    }
}

/// The check knows Python's modules without an interpreter.
#[test]
fn modules_of_python_are_those_of_the_interpreter() {
    let place = Place::new();
    place.write(
        "script.py",
        "import sys\nnames = sorted({*sys.stdlib_module_names, *sys.builtin_module_names})\n\
         open('names', 'w').writelines(f'{name}\\n' for name in names if '-' not in name)\n",
    );
    let ended = place.run(&["mock-run", "--script", "script.py", "--nodes", "machine"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/language/check/python_modules.txt");
    let names = fs::read_to_string(place.path().join("names")).unwrap();
    assert_eq!(fs::read_to_string(list).unwrap(), names);
}

/// A module may be anything: each gives one error, and none holds up the run.
#[test]
fn what_is_no_module_is_refused() {
    let place = Place::new();
    place.write(
        "test.nix",
        r#"
          (import <nixpkgs> { }).nixosTest {
            name = "odd";
            nodes.machine.virtualisation = { guest = "tiny"; backend = "container"; };
            testScript = builtins.readFile ./script.py;
          }
        "#,
    );
    let fails = |script: &str, reason: &str| {
        place.write("script.py", script);
        let ended = place.run(&["run", "--nixpkgs", "builtin", "test.nix", "-o", "out"]);
        assert!([Some(1), Some(2)].contains(&ended.code), "{}", ended.seen());
        assert!(ended.seen().contains(reason), "{reason}:\n{}", ended.seen());
    };
    fs::write(place.path().join("bytes.py"), [0xff, 0xfe]).unwrap();
    fails("import bytes", "bytes.py cannot be read");
    place.write("broken.py", "def f(:\n");
    fails("import broken", "broken.py:1:");
    nix::unistd::mkfifo(&place.path().join("pipe.py"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fails("import pipe", "No module named 'pipe'");
    place.write("circle.py", "import circle\nfrom circle import nothing\n");
    fails(
        "import circle",
        "cannot import name 'nothing' from 'circle'",
    );
    place.write("deep.py", "def f():\n    return f()\nf()\n");
    fails("import deep", "RecursionError");
    place.write("stop.py", "raise SystemExit(3)\n");
    fails(
        "import stop",
        "the script ended itself with the exit code 3",
    );
    place.assert_tidy();
}
