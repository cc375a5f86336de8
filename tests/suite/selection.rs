//! Memory of runs, and settings of a project for all of them.

use std::fs;

use insta::assert_snapshot;

use crate::harness::{Ended, Place, fixture_path};

/// Two tests on containers: one fails in its second subtest.
const TESTS: &str = r#"
  let
    pkgs = import <nixpkgs> { };
    test = name: testScript: pkgs.nixosTest {
      inherit name testScript;
      nodes.machine.virtualisation = { guest = "tiny"; backend = "container"; };
    };
  in
  builtins.mapAttrs test {
    bad = ''
      with subtest("good part"):
          machine.succeed("true")
      with subtest("bad part"):
          machine.succeed("false")
    '';
    good = "machine.succeed('true')";
  }
"#;

fn run(place: &Place, arguments: &[&str]) -> Ended {
    place.run(&[&["run", "--nixpkgs", "builtin", "tests.nix"], arguments].concat())
}

fn labels(place: &Place, folder: &str) -> Vec<String> {
    let text = fs::read_to_string(place.path().join(folder).join("run.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&text).unwrap();
    let tests = results["tests"].as_array().unwrap().iter();
    let mut labels: Vec<String> = tests
        .map(|test| {
            let (label, outcome) = (&test["label"], &test["outcome"]);
            format!("{} {}", label.as_str().unwrap(), outcome.as_str().unwrap())
        })
        .collect();
    labels.sort();
    labels
}

#[test]
fn a_part_of_a_test_is_not_its_result() {
    let place = Place::new();
    place.write("tests.nix", TESTS);
    assert_eq!(run(&place, &["-A", "bad"]).code, Some(1));
    let part = run(&place, &["-A", "bad", "--only", "good"]);
    assert_eq!(part.code, Some(0), "{}", part.seen());
    assert_eq!(
        run(&place, &["-A", "bad", "--only", "nosuch"]).code,
        Some(1)
    );
    let history = place.run(&["history", "bad"]);
    assert!(
        history.stdout.contains("1 run: 1 failed"),
        "{}",
        history.seen()
    );
    let again = run(&place, &["--rerun"]);
    assert_eq!(again.code, Some(1), "{}", again.seen());
}

#[test]
fn a_rerun_keeps_the_other_tests_in_the_report() {
    let place = Place::new();
    place.write("tests.nix", TESTS);
    assert_eq!(run(&place, &["-o", "out"]).code, Some(1));
    place.write(
        "tests.nix",
        &TESTS.replace("succeed(\"false\")", "fail(\"false\")"),
    );
    let again = run(&place, &["-o", "out", "--rerun"]);
    assert_eq!(again.code, Some(0), "{}", again.seen());
    assert!(again.stdout.contains("1 tests in "), "{}", again.seen());
    assert_eq!(labels(&place, "out"), ["bad passed", "good passed"]);
    let junit = fs::read_to_string(place.path().join("out/junit.xml")).unwrap();
    assert!(junit.contains("<testsuite name=\"good\""), "{junit}");
    // Another file has other tests.
    fs::copy(
        place.path().join("tests.nix"),
        place.path().join("other.nix"),
    )
    .unwrap();
    let other = ["run", "--nixpkgs", "builtin", "other.nix", "-o", "out"];
    assert_eq!(place.run(&other).code, Some(0));
    assert_eq!(labels(&place, "out"), ["bad passed", "good passed"]);
}

#[test]
fn a_project_names_its_nixpkgs() {
    let place = Place::new();
    place.write("tests.nix", TESTS);
    let run =
        |arguments: &[&str]| place.run(&[&["run", "tests.nix", "-A", "good"], arguments].concat());
    let missing = run(&[]);
    assert_eq!(missing.code, Some(2), "{}", missing.seen());
    assert_snapshot!(missing.stderr);
    place.write("snowglobe.toml", "[defaults]\nnixpkgs = \"builtin\"\n");
    assert_eq!(run(&[]).code, Some(0));
    assert_eq!(place.run(&["list", "tests.nix"]).code, Some(0));
    assert_eq!(place.run(&["check", "tests.nix"]).code, Some(0));
    place.write("snowglobe.toml", "[defaults]\nnixpkgs = \"nowhere\"\n");
    let wrong = run(&[]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.seen());
    let message = "nowhere is no nixpkgs: it has no default.nix\n";
    assert!(wrong.stderr.ends_with(message), "{}", wrong.seen());
    assert!(wrong.stderr.contains("`nixpkgs` in "), "{}", wrong.seen());
    // The command line comes first.
    assert_eq!(run(&["--nixpkgs", "builtin"]).code, Some(0));
    let of_override = "[[overrides]]\nfilter = \"x\"\nnixpkgs = \"builtin\"\n";
    place.write("snowglobe.toml", of_override);
    let wrong = run(&[]);
    let message = "`nixpkgs` is one of `defaults`: tests are found with it\n";
    assert!(wrong.stderr.ends_with(message), "{}", wrong.seen());
}

#[test]
fn a_project_names_its_kind_of_machine() {
    let place = Place::new();
    let test = "{ name = \"kind\"; nodes.machine.virtualisation.guest = \"tiny\"; testScript = \"machine.succeed('true')\"; }";
    place.write("test.nix", test);
    let run = |variable: &str, options: &[&str]| {
        let mut command = place.command(&["run", "--nixpkgs", "builtin", "test.nix"]);
        let child = command
            .args(options)
            .env("SNOWGLOBE_BACKEND", variable)
            .spawn();
        place.finish(child.unwrap())
    };
    let is_container = |ended: &Ended| {
        assert_eq!(ended.code, Some(0), "{}", ended.seen());
        ended
            .stdout
            .contains("running kind on machine (containers)\n")
    };
    assert!(!is_container(&run("", &[])));
    assert!(is_container(&run("container", &[])));
    place.write("snowglobe.toml", "[defaults]\nbackend = \"container\"\n");
    assert!(is_container(&run("", &[])));
    // The environment comes before the file, and the command line before both.
    assert!(!is_container(&run("vm", &[])));
    assert!(is_container(&run("vm", &["--backend", "auto"])));
    let wrong = run("docker", &[]);
    let message = "error: SNOWGLOBE_BACKEND is \"docker\": it is `vm`, `container` or `auto`\n";
    assert_eq!((wrong.code, &*wrong.stderr), (Some(2), message));
    place.write(
        "snowglobe.toml",
        "[[overrides]]\nfilter = \"x\"\nbackend = \"vm\"\n",
    );
    let wrong = run("", &[]);
    let message = "`backend` is one of `defaults`: tests are evaluated with it\n";
    assert!(wrong.stderr.ends_with(message), "{}", wrong.seen());
}

#[test]
fn lists_show_the_tags_and_the_overrides_of_no_use() {
    let place = Place::new();
    place.write("tests.nix", TESTS);
    place.write(
        "snowglobe.toml",
        "[[overrides]]\nfilter = \"good\"\ntags = [\"quick\"]\n\n[[overrides]]\nfilter = \"test(~mail)\"\nretries = 2\n",
    );
    let list = |arguments: &[&str]| {
        place.run(&[&["list", "--nixpkgs", "builtin", "tests.nix"], arguments].concat())
    };
    assert_snapshot!(list(&[]).seen());
    // What a filter leaves out is no reason.
    assert_eq!(list(&["--filter", "tag(quick)"]).stderr, "");
}

#[test]
fn the_history_of_a_file_is_found_by_its_path() {
    let place = Place::new();
    place.write("tests.nix", TESTS);
    run(&place, &["-A", "good"]);
    let ended = place.run(&["history", "tests.nix"]);
    assert!(ended.stdout.starts_with("good ("), "{}", ended.seen());
    let ended = place.run(&["history", fixture_path("hello.nix").to_str().unwrap()]);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    let message =
        "error: no test of this file has run here: `snowglobe history` lists those that have\n";
    assert_eq!(ended.stderr, message);
}
