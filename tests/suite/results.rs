//! What a run leaves of tests: `run.json`, `junit.xml`, and what is known of them the next time.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Ended, Place, fixture_path};

/// A test of one container.
fn write_test(place: &Place, name: &str, script: &str) {
    let node = r#"nodes.m.virtualisation = { guest = "tiny"; backend = "container"; }"#;
    place.write(
        &format!("{name}.nix"),
        &format!(
            r#"(import <nixpkgs> {{ }}).nixosTest {{ name = "{name}"; {node}; testScript = "{script}"; }}"#
        ),
    );
}

fn run(place: &Place, arguments: &[&str]) -> Ended {
    place.run(&[&["run", "--nixpkgs", "builtin"], arguments].concat())
}

fn read(place: &Place, file: &str) -> String {
    fs::read_to_string(place.path().join(file)).unwrap()
}

fn results(place: &Place, folder: &str) -> Value {
    serde_json::from_str(&read(place, &format!("{folder}/run.json"))).unwrap()
}

#[test]
fn a_test_that_was_not_run_is_no_longer_passed() {
    let place = Place::new();
    let rerun = || place.run(&["list", "--nixpkgs", "builtin", "one.nix", "--rerun"]);
    write_test(&place, "one", "m.succeed('true')");
    assert_eq!(run(&place, &["one.nix"]).code, Some(0));
    assert!(read(&place, "result-one/junit.xml").contains("errors=\"0\""));
    assert_eq!(rerun().code, Some(2), "{}", rerun().seen());
    for (script, message) in [
        ("m.suceed('true')", "suceed"),
        ("${throw \"no script\"}", "no script"),
    ] {
        write_test(&place, "one", script);
        let ended = run(&place, &["one.nix"]);
        assert_eq!(
            (ended.code, &*ended.stdout),
            (Some(2), ""),
            "{}",
            ended.seen()
        );
        let test = &results(&place, "result-one")["tests"][0];
        assert_eq!(
            (&test["outcome"], &test["attribute"]),
            (&json!("not_run"), &json!(""))
        );
        let said = test["message"].as_str().unwrap();
        assert!(said.contains(message), "{said}");
        assert!(read(&place, "result-one/junit.xml").contains("errors=\"1\""));
        assert!(read(&place, "result-one/report.html").contains(message));
        assert_eq!(rerun().stdout, "one: m\n");
    }
    place.assert_tidy();
}

#[test]
fn a_repeated_test_that_failed_once_has_failed_in_all_reports() {
    let place = Place::new();
    let arguments = ["--filter", "flaky | boots", "--repeat", "2"];
    let ended = place.run_fixture("suite", &arguments);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    let junit = read(&place, "results/junit.xml");
    assert!(junit.contains("the seed 0 is a bad one"), "{junit}");
    assert!(junit.contains("failures=\"1\""), "{junit}");
    // It takes as long as one run.
    let history = place.run(&["history", "boots", "--format", "json"]);
    let entry: Value = serde_json::from_str(&history.stdout).unwrap();
    let boots = results(&place, "results");
    let mut tests = boots["tests"].as_array().unwrap().iter();
    let boots = tests.find(|test| test["label"] == "boots").unwrap();
    let half = boots["duration_s"].as_f64().unwrap() / 2.0;
    let known = entry["duration_s"].as_f64().unwrap();
    assert!((known - half).abs() < 0.01, "{known} {half}");
}

#[test]
fn a_report_of_its_own_folder_keeps_what_it_is_made_of() {
    let place = Place::new();
    write_test(&place, "one", "m.succeed('echo to the log')");
    assert_eq!(run(&place, &["one.nix", "-o", "one"]).code, Some(0));
    let before = [
        read(&place, "one/events.jsonl"),
        read(&place, "one/junit.xml"),
    ];
    let ended = place.run(&["report", "one", "one", "-o", "one"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert!(ended.stdout.starts_with("1 tests in "), "{}", ended.seen());
    assert_eq!(
        [
            read(&place, "one/events.jsonl"),
            read(&place, "one/junit.xml")
        ],
        before
    );
    assert!(read(&place, "one/report.html").contains("echo to the log"));
}

#[test]
fn a_merged_report_ends_as_its_runs_did() {
    let place = Place::new();
    let test = |outcome: &str, obstacle: Value| {
        json!({"label": "t", "source": "/t.nix", "attribute": "", "outcome": outcome, "started_s": 0.0, "duration_s": 0.0,
            "attempts": [], "expected_s": null, "backend": null, "quarantine": null, "slow": false, "leaky": false,
            "message": "why", "obstacle": obstacle})
    };
    for (interrupted, test, code) in [
        (false, test("not_run", json!("test")), 2),
        (false, test("not_run", json!("build")), 3),
        (false, test("not_run", json!("host")), 4),
        (true, test("left_out", Value::Null), 130),
    ] {
        let results = json!({"version": 1, "started_unix_s": 0, "duration_s": 0.0, "interrupted": interrupted, "tests": [test]});
        fs::create_dir_all(place.path().join("part")).unwrap();
        place.write("part/run.json", &results.to_string());
        let ended = place.run(&["report", "part", "-o", "all"]);
        assert_eq!(ended.code, Some(code), "{}", ended.seen());
    }
}

#[test]
fn a_test_that_two_arguments_mean_runs_once() {
    let place = Place::new();
    let suite = fixture_path("suite");
    let suite = suite.to_str().unwrap();
    let ended = run(&place, &[suite, suite, "--filter", "boots | pair"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let first = "running 2 tests, at most 2 at a time\n";
    assert!(ended.stdout.starts_with(first), "{}", ended.seen());
}

#[test]
fn annotations_are_those_of_the_run() {
    let place = Place::new();
    let file = fixture_path("suite");
    let annotated = |arguments: &[&str]| {
        let mut command = place.command(&["run", "--nixpkgs", "builtin", file.to_str().unwrap()]);
        command.args(arguments).env("GITHUB_ACTIONS", "true");
        let ended = place.finish(command.spawn().unwrap());
        let lines = ended.stdout.lines().filter(|line| line.starts_with("::"));
        let kinds: Vec<String> = lines
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect();
        (ended.code, kinds)
    };
    // A flaky test has passed.
    let flaky = annotated(&["--filter", "flaky", "--retries", "1"]);
    assert_eq!(flaky, (Some(0), vec!["::warning".to_owned()]));
    let broken = annotated(&["--filter", "broken"]);
    assert_eq!(broken, (Some(2), vec!["::error".to_owned()]));
}

/// Nix keeps the log of a build whose result it has removed.
#[test]
fn the_log_of_an_earlier_build_is_no_verdict() {
    let place = Place::new();
    let name = format!("probe-{}", std::process::id());
    write_test(&place, &name, "m.succeed('true')");
    let file = format!("{name}.nix");
    let check = |more: &[&str]| {
        let arguments = [
            &[&*file, "--as-derivation", "--allow-emulation"],
            &["--backend", "vm", "-o", "out"][..],
            more,
        ];
        run(&place, &arguments.concat())
    };
    let ended = check(&[]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let result = fs::read_link(place.path().join("out/result")).unwrap();
    fs::remove_dir_all(place.path().join("out")).unwrap();
    delete(&result);
    let ended = check(&["--option", "max-jobs", "0"]);
    assert_eq!(ended.code, Some(3), "{}", ended.seen());
    assert!(!ended.stdout.contains("passed"), "{}", ended.seen());
}

fn delete(path: &Path) {
    let mut command = Command::new("nix-store");
    command.args(["--option", "build-users-group", "", "--delete"]);
    let output = command.arg(path).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
}
