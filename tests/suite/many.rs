//! Many tests at a time: every kind of end, attempts, the configuration, and what is wrong with any of them.

use std::collections::BTreeMap;
use std::fs;

use insta::assert_snapshot;
use regex_lite::Regex;

use crate::harness::{Ended, Place, fixture_path, signal};

#[test]
fn every_end_is_reported() {
    let place = Place::new();
    let config = fixture_path("suite/snowglobe.toml");
    let config = ["--config", config.to_str().unwrap()];
    let in_order = ["--jobs", "1", "--eval-jobs", "1"];
    let ended = run(&place, &[&config[..], &in_order].concat());
    assert_snapshot!(ended.seen());
    let junit = fs::read(place.path().join("results/junit.xml")).unwrap();
    assert_snapshot!(place.comparable(&junit));
    let results = fs::read_to_string(place.path().join("results/run.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&results).unwrap();
    let outcomes: BTreeMap<&str, &str> = results["tests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|test| {
            (
                test["label"].as_str().unwrap(),
                test["outcome"].as_str().unwrap(),
            )
        })
        .collect();
    assert_snapshot!(format!("{outcomes:#?}"));
    // The first failure of a flaky test is kept.
    for folder in ["flaky", "flaky/attempt-2"] {
        let events = place
            .path()
            .join("results")
            .join(folder)
            .join("events.jsonl");
        assert!(events.is_file(), "{folder}");
    }
    place.assert_tidy();
}

/// Runs a few quick tests of the fixture suite.
fn run(place: &Place, arguments: &[&str]) -> Ended {
    place.run_fixture("suite", arguments)
}

#[test]
fn tests_are_repeated_to_find_a_failure() {
    let place = Place::new();
    let ended = run(&place, &["--filter", "boots | pair", "--repeat", "3"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    for label in ["boots", "pair"] {
        let line = format!("passed: {label} ([T] s, 3 attempts)\n");
        assert!(ended.stdout.contains(&line), "{}", ended.seen());
    }
    // Its third run passes: the seed 2 is a good one.
    let ended = run(&place, &["--filter", "flaky", "--until-failure"]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    fs::remove_file(place.path().join("flaky.seed")).unwrap();
    let ended = run(&place, &["--filter", "flaky", "--retries", "1"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let end =
        "flaky: flaky, 2 attempts: 1 passed, 1 failed\nreport in [DIR]/result-flaky/report.html\n";
    assert!(ended.stdout.ends_with(end), "{}", ended.seen());
    let ended = run(&place, &["--filter", "boots", "--stress", "5s"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let verdicts = ended.stdout.matches("passed: boots").count();
    assert!(verdicts > 1, "{}", ended.seen());
    place.assert_tidy();
}

#[test]
fn a_budget_that_is_smaller_than_a_test_is_said() {
    let place = Place::new();
    let arguments = ["--filter", "boots | pair", "--memory", "400M"];
    let ended = run(&place, &arguments);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    assert_eq!(
        ended.stderr,
        "error: pair: the test needs 592 MiB of memory, and `--memory` grants 400 MiB: grant more, or run fewer machines\n"
    );
    assert!(ended.stdout.contains("passed: boots ("), "{}", ended.seen());
    // Also if the test is alone.
    let ended = run(&place, &["--filter", "pair", "--memory", "400M"]);
    assert_eq!(
        (ended.code, &*ended.stdout, &*ended.stderr),
        (
            Some(2),
            "",
            "error: the test needs 592 MiB of memory, and `--memory` grants 400 MiB: grant more, or run fewer machines\n"
        )
    );
    let ended = run(&place, &["--memory", "4"]);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    assert!(ended.stderr.contains("such as `4G`"), "{}", ended.seen());
}

#[test]
fn nothing_begins_after_the_first_failure() {
    let place = Place::new();
    let arguments = [
        "--filter",
        "wrong | subtests | quarantined",
        "--jobs",
        "1",
        "--eval-jobs",
        "1",
        "--fail-fast",
    ];
    let ended = run(&place, &arguments);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    let count = "3 tests in [T] s: 1 failed, 2 left out\n";
    assert!(ended.stdout.contains(count), "{}", ended.seen());
}

/// The verdict stays, and the next run removes them.
#[test]
fn names_of_files_of_guests_may_be_no_text() {
    let place = Place::new();
    let test = place.write(
        "test.nix",
        r#"(import <nixpkgs> { }).nixosTest {
          name = "odd";
          nodes.m.virtualisation = { guest = "tiny"; backend = "container"; };
          testScript = ''
            m.succeed("mkdir /tmp/d && touch /tmp/d/$(printf 'inv\\377alid')")
            m.copy_from_machine("/tmp/d")
          '';
        }"#,
    );
    for _ in 0..2 {
        let ended = place.run(&["run", "--nixpkgs", "builtin", test.to_str().unwrap()]);
        assert_eq!(ended.code, Some(0), "{}", ended.seen());
        let copied = fs::read_dir(place.path().join("result-odd/d")).unwrap();
        assert_eq!(copied.count(), 1);
    }
}

#[test]
fn a_configuration_is_found_and_what_is_wrong_in_it_shown() {
    let place = Place::new();
    let override_of = |filter: &str, rules: &str| {
        place.write(
            "snowglobe.toml",
            &format!("[[overrides]]\nfilter = \"{filter}\"\n{rules}\n"),
        );
    };
    override_of(
        "wrong",
        "quarantine = { reason = \"known\", until = 2020-02-01 }",
    );
    let ended = run(&place, &["--filter", "wrong | boots"]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    let warning =
        "wrong: warning: its quarantine has ended on 2020-02-01 (known): the test counts again\n";
    assert!(ended.stdout.contains(warning), "{}", ended.seen());
    // Also of one alone.
    let ended = run(&place, &["--filter", "wrong"]);
    let warning = &warning["wrong: ".len()..];
    assert!(ended.stdout.starts_with(warning), "{}", ended.seen());
    override_of("wrong", "quarantine = { reason = \"known\" }");
    let ended = run(&place, &["--filter", "wrong | boots"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let ended = run(&place, &["--filter", "wrong"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let line = "\nin quarantine: wrong (failed: known): the run does not fail\n";
    assert!(ended.stdout.contains(line), "{}", ended.seen());
    override_of("wrong", "retires = 2");
    assert_snapshot!(run(&place, &[]).seen());
    override_of("tag(", "retries = 2");
    assert_snapshot!(run(&place, &[]).seen());
    let ended = run(&place, &["--config", "none.toml"]);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    assert!(
        ended
            .stderr
            .starts_with("error: the configuration none.toml cannot be read: "),
        "{}",
        ended.seen()
    );
}

#[test]
fn events_of_all_tests_are_one_stream() {
    let place = Place::new();
    let arguments = ["--filter", "boots | wrong", "--format", "json"];
    let ended = run(&place, &arguments);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    let mut ends = BTreeMap::new();
    for line in ended.stdout.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let kind = event["event"].as_str().unwrap().to_owned();
        let is_of_run = [
            "run_started",
            "tests_found",
            "run_finished",
            "report_written",
        ]
        .contains(&&*kind);
        assert_eq!(event.get("label").is_none(), is_of_run, "{line}");
        if kind == "test_ended" {
            let label = event["label"].as_str().unwrap().to_owned();
            ends.insert(
                label,
                event["result"]["outcome"].as_str().unwrap().to_owned(),
            );
        }
    }
    let ends: Vec<(&str, &str)> = ends.iter().map(|(a, b)| (&**a, &**b)).collect();
    assert_eq!(ends, [("boots", "passed"), ("wrong", "failed")]);
}

#[test]
fn an_interrupt_ends_all_tests() {
    let place = Place::new();
    let file = fixture_path("suite");
    let mut command = place.command(&["run", "--nixpkgs", "builtin", file.to_str().unwrap()]);
    command.args(["--filter", "hangs | slow | wrong", "--jobs", "2"]);
    let child = command.spawn().unwrap();
    place.wait_for_text("results/hangs/events.jsonl", "waiting for `false`");
    signal(child.id(), "INT");
    let ended = place.finish(child);
    assert_eq!(ended.code, Some(130), "{}", ended.seen());
    assert!(
        ended.stdout.contains("interrupted: hangs ("),
        "{}",
        ended.seen()
    );
    place.assert_tidy();
}

#[test]
fn a_crash_of_one_test_is_its_own() {
    let place = Place::new();
    let test = |script: &str| {
        format!(
            "pkgs.nixosTest {{ name = \"t\"; nodes.m.virtualisation = {{ guest = \"tiny\"; backend = \"container\"; }}; testScript = ''{script}''; }}"
        )
    };
    let crash = "import os, signal\nm.succeed('true')\nos.kill(os.getpid(), signal.SIGKILL)";
    let file = format!(
        "let pkgs = import <nixpkgs> {{ }}; in {{ crash = {}; good = {}; }}",
        test(crash),
        test("m.succeed('sleep 1')")
    );
    place.write("t.nix", &file);
    let ended = place.run(&["run", "--nixpkgs", "builtin", "t.nix"]);
    assert_eq!(ended.code, Some(4), "{}", ended.seen());
    assert!(ended.stdout.contains("passed: good ("), "{}", ended.seen());
    let reason = "ProcessEnded: the process that ran the script has ended by SIGKILL\n";
    assert!(ended.stdout.contains(reason), "{}", ended.seen());
    place.assert_tidy();
}

#[test]
fn what_did_not_pass_is_run_again() {
    let place = Place::new();
    let suite = fixture_path("suite");
    let listed = |arguments: &[&str]| {
        let list = ["list", "--nixpkgs", "builtin", suite.to_str().unwrap()];
        place.run(&[&list[..], arguments].concat()).seen()
    };
    let ended = place.run(&["history"]);
    assert_eq!(ended.stderr, "error: no test has run here yet\n");
    // The first one that fails has the others left out.
    let filter = ["--filter", "boots | flaky | wrong"];
    let few = [&filter[..], &["--jobs", "1", "--eval-jobs", "1"]].concat();
    let ended = run(&place, &[&few[..], &["--max-fail", "2"]].concat());
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    assert_snapshot!(listed(&["--rerun"]));
    assert_snapshot!(listed(&["--filter", "last(passed) & duration(< 10m)"]));
    // Its seed is a good one now.
    let ended = run(&place, &["--rerun"]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    assert_snapshot!(listed(&["--rerun"]));
    let history = place.run(&["history", "flaky"]);
    let times = Regex::new(r"\d{4}-\d\d-\d\d \d\d:\d\d").unwrap();
    assert_snapshot!(times.replace_all(&history.seen(), "[TIME]"));
    let history = place.run(&["history", "w*", "--format", "json"]);
    for line in history.stdout.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&entry["label"], &entry["outcome"]),
            (&"wrong".into(), &"failed".into())
        );
    }
    assert_eq!(history.stdout.lines().count(), 2, "{}", history.seen());
    let none = place.run(&["history", "nothing"]);
    assert_eq!(none.code, Some(2), "{}", none.seen());
}

#[test]
fn attribute_paths_may_be_several() {
    let place = Place::new();
    let ended = run(
        &place,
        &[
            "-A",
            "boots",
            "-A",
            "nope",
            "-A",
            "pair",
            "--jobs",
            "1",
            "--eval-jobs",
            "1",
        ],
    );
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    assert_snapshot!(ended.seen());
    let backends = ["-A", "boots", "-A", "pair", "--filter", "backend(vm)"];
    let ended = run(&place, &backends);
    assert_eq!(
        ended.stderr,
        "error: none of the 2 tests fits: `snowglobe list` shows them\n"
    );
    let ended = run(
        &place,
        &[
            "-A",
            "boots",
            "-A",
            "pair",
            "--filter",
            "backend(container) & machines(1)",
        ],
    );
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert!(ended.stdout.contains("passed: boots ("), "{}", ended.seen());
}
