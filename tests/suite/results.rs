//! What a run leaves of tests: `run.json`, `junit.xml`, and what is known of them the next time.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Ended, Place, fixture_path, signal};

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

/// What is there when a run ends is what the run says, and not what an earlier one has said.
#[test]
fn files_that_do_not_evaluate_have_passed_no_more() {
    let place = Place::new();
    place.write("all.nix", "{ a = import ./a.nix; b = import ./b.nix; }");
    write_test(&place, "a", "m.succeed('true')");
    write_test(&place, "b", "m.succeed('true')");
    assert_eq!(run(&place, &["all.nix"]).code, Some(0));
    place.write("all.nix", "{ a = import ./a.nix; b = ");
    let ended = run(&place, &["all.nix"]);
    assert_eq!(
        (ended.code, &*ended.stdout),
        (Some(2), ""),
        "{}",
        ended.seen()
    );
    assert_eq!(results(&place, "results")["tests"][0]["outcome"], "not_run");
    assert!(read(&place, "results/junit.xml").contains("errors=\"1\""));
    assert!(read(&place, "results/report.html").contains("syntax error"));
    // A file that was never run is not known.
    assert_eq!(run(&place, &["mistyped.nix"]).code, Some(2));
    let known = place.run(&["history"]).stdout;
    assert!(
        known.contains("all.nix") && !known.contains("mistyped"),
        "{known}"
    );
    place.settle();
    place.write("all.nix", "{ a = import ./a.nix; b = import ./b.nix; }");
    let ended = run(&place, &["all.nix", "--rerun"]);
    assert!(
        ended.stdout.contains("2 tests in [T] s: 2 passed\n"),
        "{}",
        ended.seen()
    );
    place.assert_tidy();
}

/// Tests of a file that does not evaluate were not run, also if others have run.
#[test]
fn what_did_not_evaluate_is_run_again() {
    let place = Place::new();
    write_test(&place, "good", "m.succeed('true')");
    let both = |text: &str| place.write("both.nix", text);
    both("{ x = import ./good.nix; y = import ./good.nix; }");
    assert_eq!(run(&place, &["good.nix", "both.nix"]).code, Some(0));
    let rerun = || {
        let ended = run(&place, &["good.nix", "both.nix", "--rerun"]);
        (ended.code, ended.seen())
    };
    assert_eq!(rerun().0, Some(2));
    // A file that is changed in the second of the run before would be taken for the same.
    place.settle();
    // The history orders runs by seconds.
    let next_second = || std::thread::sleep(std::time::Duration::from_millis(1100));
    next_second();
    both("{ x = ");
    assert_eq!(run(&place, &["good.nix", "both.nix"]).code, Some(2));
    assert!(place.run(&["history"]).stdout.contains("both.nix"));
    place.settle();
    next_second();
    both("{ x = import ./good.nix; y = import ./good.nix; }");
    let (code, seen) = rerun();
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains("2 tests in [T] s: 2 passed\n"), "{seen}");
    assert!(!place.run(&["history"]).stdout.contains("both.nix ("));
}

#[test]
fn a_quarantine_holds_in_every_report() {
    let place = Place::new();
    write_test(&place, "one", "m.fail('true')");
    place.write(
        "snowglobe.toml",
        "[[overrides]]\nfilter = \"one\"\nquarantine = { reason = \"known\" }\n",
    );
    assert_eq!(run(&place, &["one.nix"]).code, Some(0));
    let junit = read(&place, "result-one/junit.xml");
    assert!(junit.contains("failures=\"0\""), "{junit}");
    assert!(junit.contains("in quarantine: known"), "{junit}");
}

/// Each part runs what no other runs, also if something does not evaluate, and if there is nothing for a part.
#[test]
fn parts_share_what_there_is() {
    let place = Place::new();
    write_test(&place, "one", "m.succeed('true')");
    place.write("broken.nix", "{ a = ");
    let ends: Vec<Ended> = (1..=3)
        .map(|part| {
            let partition = format!("slice:{part}/3");
            let folder = format!("part-{part}");
            run(
                &place,
                &[
                    "one.nix",
                    "broken.nix",
                    "--partition",
                    &partition,
                    "-o",
                    &folder,
                ],
            )
        })
        .collect();
    let codes: Vec<_> = ends.iter().map(|ended| ended.code.unwrap()).collect();
    let shown: String = ends.iter().map(Ended::seen).collect();
    assert_eq!(
        codes.iter().filter(|code| **code == 2).count(),
        1,
        "{shown}"
    );
    assert_eq!(shown.matches("passed: one").count(), 1, "{shown}");
    assert!(
        shown.contains("no test is in this part\n0 tests in [T] s\n"),
        "{shown}"
    );
    // A machine of the CI has died: the others are reported, and it is named.
    let ended = place.run(&[
        "report", "part-1", "part-2", "part-3", "part-4", "-o", "all",
    ]);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    let summary = "2 tests in [T] s: 1 passed, 1 not run\n  not run: broken.nix\n";
    assert!(ended.stdout.contains(summary), "{}", ended.seen());
    assert!(
        ended
            .stderr
            .contains("error: the report is not whole: part-4 is no output folder"),
        "{}",
        ended.seen()
    );
    // A report of reports counts nothing twice.
    let ended = place.run(&["report", "all", "part-1", "part-2", "part-3", "-o", "again"]);
    assert!(ended.stdout.contains(summary), "{}", ended.seen());
}

/// Of a test that is repeated, the failure that is shown is the one whose output is kept.
#[test]
fn the_first_failure_is_shown() {
    let place = Place::new();
    let runs = place.path().join("runs");
    let script = [
        &format!("import os\nfolder = '{}'", runs.display()),
        "run = len(os.listdir(folder))",
        "open(f'{folder}/{run}', 'w').close()",
        "assert run not in (1, 2), f'run {run}'",
    ]
    .join("\n");
    fs::create_dir(&runs).unwrap();
    place.write("script.py", &script);
    write_test(&place, "other", "m.succeed('true')");
    place.write(
        "hunted.nix",
        r#"(import <nixpkgs> { }).nixosTest { name = "hunted"; testScript = builtins.readFile ./script.py;
           nodes.m.virtualisation = { guest = "tiny"; backend = "container"; }; }"#,
    );
    let ended = run(&place, &["hunted.nix", "other.nix", "--repeat", "4"]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    let shown = ended.stdout.matches("AssertionError").count();
    assert!(
        ended.stdout.contains("AssertionError: run 1\n") && shown == 1,
        "{}",
        ended.seen()
    );
    assert!(
        ended.stdout.contains("output in [DIR]/results/hunted\n"),
        "{}",
        ended.seen()
    );
}

/// Functions of a file get what is offered, whether all of its tests are evaluated at once or some.
#[test]
fn tests_behind_functions_are_run() {
    let place = Place::new();
    let node = r#"nodes.m.virtualisation = { guest = "tiny"; backend = "container"; }"#;
    place.write(
        "all.nix",
        &format!(
            r#"{{ runTest, ... }}: {{
              first = runTest {{ name = "f"; {node}; testScript = ""; }};
              inner = ./inner.nix;
            }}"#
        ),
    );
    place.write(
        "inner.nix",
        &format!(
            r#"{{ pkgs, ... }}: {{ second = pkgs.nixosTest {{ name = "s"; {node}; testScript = ""; }};
               third = {{ pkgs, ... }}: {{ name = "t"; {node}; testScript = ""; }}; }}"#
        ),
    );
    for jobs in ["1", "2"] {
        let ended = run(
            &place,
            &["all.nix", "--eval-jobs", jobs, "--exclude", "third"],
        );
        assert_eq!(ended.code, Some(0), "{}", ended.seen());
        let ended = run(&place, &["all.nix", "--eval-jobs", jobs]);
        assert!(
            ended.stdout.contains("3 tests in [T] s: 3 passed\n"),
            "{}",
            ended.seen()
        );
    }
    let one = run(&place, &["all.nix", "-A", "inner.second"]);
    assert_eq!(one.code, Some(0), "{}", one.seen());
    // Of a large set only those names are said that are like it.
    place.write("large.nix", "builtins.listToAttrs (builtins.genList (n: { name = \"t${toString n}x\"; value = { }; }) 40)");
    let others = |path: &str| {
        place
            .run(&["list", "--nixpkgs", "builtin", "large.nix", "-A", path])
            .stderr
    };
    let like = "error: there is no attribute `t7`; there are 40 others; like it: t7x\n";
    assert_eq!(others("t7"), like);
    let such = "error: there is no attribute `y`; there are 40 others, such as t0x\n";
    assert_eq!(others("y"), such);
    let one = run(&place, &["all.nix", "-A", "inner", "--filter", "*third"]);
    assert_eq!(one.code, Some(0), "{}", one.seen());
}

/// One test of a set that throws before it has a name is an error of its own.
#[test]
fn a_test_without_a_name_is_one_of_the_tests() {
    let place = Place::new();
    let node = r#"nodes.m.virtualisation = { guest = "tiny"; backend = "container"; }"#;
    place.write(
        "all.nix",
        &format!(
            r#"let test = more: (import <nixpkgs> {{ }}).nixosTest ({{ name = "t"; {node}; testScript = ""; }} // more); in {{
              good = test {{ }};
              gone = throw "removed in 26.05";
              empty = test {{ nodes = {{ }}; }};
              tagged = test {{ passthru.tags = "database"; }};
            }}"#
        ),
    );
    let errors = [
        "removed in 26.05",
        "the test `t` has no nodes",
        "passthru.tags of `t` is no list of strings",
    ];
    let listed = place.run(&["list", "--nixpkgs", "builtin", "all.nix"]);
    assert_eq!(
        (listed.code, &*listed.stdout),
        (Some(2), "good (t): m\n"),
        "{}",
        listed.seen()
    );
    let ended = run(&place, &["all.nix"]);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    let summary = "4 tests in [T] s: 1 passed, 3 not run\n  not run: empty\n  not run: gone\n  not run: tagged\n";
    assert!(ended.stdout.contains(summary), "{}", ended.seen());
    for message in errors {
        assert!(listed.stderr.contains(message), "{}", listed.seen());
        assert!(ended.stderr.contains(message), "{}", ended.seen());
    }
    assert_eq!(run(&place, &["all.nix", "-A", "good"]).code, Some(0));
}

/// Errors of a command line say nothing of the tests that have run.
#[test]
fn what_is_mistyped_changes_no_report() {
    let place = Place::new();
    write_test(&place, "a", "m.succeed('true')");
    place.write("x.nix", "{ a = import ./a.nix; b = import ./a.nix; }");
    place.write("y.nix", "{ c = import ./a.nix; }");
    assert_eq!(run(&place, &["x.nix", "y.nix"]).code, Some(0));
    let before = read(&place, "results/junit.xml");
    for arguments in [["x.nix", "-A", "typo"], ["nowhere.nix", "-A", "a"]] {
        assert_eq!(run(&place, &arguments).code, Some(2));
        assert_eq!(read(&place, "results/junit.xml"), before);
    }
    // A file that lacks what another has: its own tests have not failed.
    let ended = run(&place, &["x.nix", "y.nix", "-A", "a"]);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    let rerun = place.run(&["list", "--nixpkgs", "builtin", "y.nix", "--rerun"]);
    assert_eq!(
        rerun.stderr,
        "error: none of the 1 tests failed or was left out last time: without `--rerun`, all of them run\n"
    );
}

/// Whatever ends a run, its reports do not say that it has passed.
#[test]
fn a_killed_run_is_one_that_did_not_finish() {
    let place = Place::new();
    write_test(&place, "a", "m.succeed('sleep 600')");
    write_test(&place, "b", "m.succeed('true')");
    let child = place
        .command(&["run", "--nixpkgs", "builtin", "a.nix", "b.nix"])
        .spawn()
        .unwrap();
    place.wait_for_text("results/a/events.jsonl", "machine_ready");
    signal(child.id(), "KILL");
    let _ = place.finish(child);
    assert_eq!(
        results(&place, "results")["tests"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert!(read(&place, "results/junit.xml").contains("errors=\"1\""));
    let ended = place.run(&["report", "results", "-o", "all"]);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    assert!(
        ended.stderr.contains("the run did not finish"),
        "{}",
        ended.seen()
    );
}
