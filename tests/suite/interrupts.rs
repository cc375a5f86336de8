//! What ends a run early, and that nothing is left of it.

use std::fs;
use std::process::Child;

use crate::harness::{Place, fixture_path, signal};

const EVENTS: &str = "result-slow/events.jsonl";

/// A run whose script waits for what never comes.
fn waiting(place: &Place, arguments: &[&str]) -> Child {
    let file = fixture_path("failing.nix");
    let file = file.to_str().unwrap();
    let all = [
        &["run", "--nixpkgs", "builtin", file, "-A", "slow"],
        arguments,
    ]
    .concat();
    let child = place.command(&all).spawn().unwrap();
    place.wait_for_text(EVENTS, "machine_ready");
    assert!(!place.processes().is_empty(), "a machine runs");
    child
}

/// Kills the QEMU of the first machine in the events.
fn kill_machine(place: &Place, events: &str) {
    let events = fs::read_to_string(place.path().join(events)).unwrap();
    let pid = events
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|event| event["pid"].as_u64())
        .unwrap();
    signal(u32::try_from(pid).unwrap(), "KILL");
}

fn ended_by(name: &str) {
    let place = Place::new();
    let child = waiting(&place, &[]);
    signal(child.id(), name);
    let ended = place.finish(child);
    assert_eq!(ended.code, Some(130), "{}", ended.seen());
    assert!(ended.stdout.contains("\ncleaned up\n"), "{}", ended.seen());
    assert!(!ended.stdout.contains("swallowed"), "{}", ended.seen());
    assert!(
        ended
            .stdout
            .ends_with("interrupted: slow ([T] s)\nreport in [DIR]/result-slow/report.html\n"),
        "{}",
        ended.seen()
    );
    let report = fs::read_to_string(place.path().join("result-slow/junit.xml")).unwrap();
    assert!(report.contains("the run was interrupted"), "{report}");
    let console = fs::read_to_string(place.path().join("result-slow/console/machine.log")).unwrap();
    assert!(!console.contains("timeout "), "{console}");
    place.assert_tidy();
}

#[test]
fn ctrl_c_lets_the_script_clean_up() {
    ended_by("INT");
}

#[test]
fn sigterm_lets_the_script_clean_up() {
    ended_by("TERM");
}

/// Starts repeats from a checkpoint, of which two wait side by side for what never comes.
fn waiting_side_by_side(place: &Place) -> Child {
    let flag = place.path().join("first-is-over");
    let test = format!(
        r#"(import <nixpkgs> {{ }}).nixosTest {{
          name = "slow";
          nodes.machine.virtualisation.guest = "tiny";
          testScript = ''
            import pathlib
            start_all()
            machine.succeed("sleep 2")
            with subtest("waits"):
                machine.succeed("true")
                if pathlib.Path("{0}").exists():
                    machine.wait_for_file("/tmp/never")
                pathlib.Path("{0}").touch()
          '';
        }}"#,
        flag.display()
    );
    place.write("test.nix", &test);
    let options = ["--from", "waits", "--repeat", "9", "--jobs", "2"];
    let all = [&["run", "--nixpkgs", "builtin", "test.nix"][..], &options].concat();
    let mut command = place.command(&all);
    command.env_remove("CI");
    let child = command.spawn().unwrap();
    for attempt in ["attempt-2", "attempt-3"] {
        let events = format!("result-slow/{attempt}/events.jsonl");
        place.wait_for_text(&events, "/tmp/never");
    }
    child
}

#[test]
fn attempts_side_by_side_are_interrupted_together() {
    let place = Place::new();
    let child = waiting_side_by_side(&place);
    signal(child.id(), "INT");
    let ended = place.finish(child);
    assert_eq!(ended.code, Some(130), "{}", ended.seen());
    let counts = "3 attempts: 1 passed, 2 interrupted";
    assert!(ended.stdout.contains(counts), "{}", ended.seen());
    place.assert_tidy();
}

#[test]
fn attempts_side_by_side_leave_nothing_when_killed() {
    let place = Place::new();
    let mut child = waiting_side_by_side(&place);
    child.kill().unwrap();
    child.wait().unwrap();
    place.assert_tidy();
}

#[test]
fn ctrl_c_twice_ends_at_once() {
    let place = Place::new();
    let file = place.write(
        "stubborn.nix",
        r#"
        (import <nixpkgs> { }).nixosTest {
          name = "slow";
          nodes.machine.virtualisation.guest = "tiny";
          testScript = ''
            machine.succeed("true")
            try:
                machine.wait_for_file("/tmp/never")
            finally:
                print("not yet")
                machine.wait_for_file("/tmp/never")
          '';
        }
        "#,
    );
    let child = place
        .command(&["run", "--nixpkgs", "builtin", file.to_str().unwrap()])
        .spawn()
        .unwrap();
    place.wait_for_text(EVENTS, "waiting for file");
    signal(child.id(), "INT");
    place.wait_for_text(EVENTS, "not yet");
    signal(child.id(), "INT");
    let ended = place.finish(child);
    assert_eq!(ended.code, Some(130), "{}", ended.seen());
    place.assert_tidy();
}

#[test]
fn nothing_is_left_after_sigkill() {
    let place = Place::new();
    let child = waiting(&place, &[]);
    signal(child.id(), "KILL");
    place.finish(child);
    place.assert_tidy();
    let report = fs::read_to_string(place.path().join("result-slow/junit.xml")).unwrap();
    assert!(report.contains("the run did not finish"), "{report}");
}

#[test]
fn the_global_timeout_tells_what_was_waited_for() {
    let place = Place::new();
    let ended = place.run_fixture("failing.nix", &["-A", "slow", "--global-timeout", "15"]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    assert!(
        ended.stdout.contains("GlobalTimeout: the test took longer than 15 s; it was at: machine: waiting for file /tmp/never"),
        "{}",
        ended.seen()
    );
    assert!(ended.stdout.contains("\ncleaned up\n"), "{}", ended.seen());
    place.assert_tidy();
}

#[test]
fn a_killed_machine_ends_the_run() {
    let place = Place::new();
    let child = waiting(&place, &[]);
    kill_machine(&place, EVENTS);
    let ended = place.finish(child);
    // The script swallows the exception and ends well, which changes nothing.
    assert!(ended.stdout.contains("\nswallowed\n"), "{}", ended.seen());
    assert_eq!(ended.code, Some(4), "{}", ended.seen());
    let message = "MachineDied: machine machine has died (signal: 9 (SIGKILL))";
    assert!(ended.stdout.contains(message), "{}", ended.seen());
    let events = fs::read_to_string(place.path().join(EVENTS)).unwrap();
    assert!(events.contains("signal: 9 (SIGKILL)"), "{events}");
    place.assert_tidy();
}

/// What a script can be at when its machine is killed.
const OPERATIONS: [&str; 10] = [
    "boot",
    "command",
    "wait",
    "console",
    "guest's sleep",
    "host's sleep",
    "off",
    "copy",
    "keys",
    "threads",
];

#[test]
fn a_machine_killed_at_any_moment_ends_the_run() {
    for operation in OPERATIONS {
        let place = Place::new();
        let file = fixture_path("failing.nix");
        let child = place
            .command(&[
                "run",
                "--nixpkgs",
                "builtin",
                file.to_str().unwrap(),
                "-A",
                "crash",
            ])
            .env("OPERATION", operation)
            .spawn()
            .unwrap();
        let events = "result-crash/events.jsonl";
        place.wait_for_text(events, "at it: ");
        place.wait_for_text(events, "machine_started");
        // Any moment will do: as a rule, this one is inside the call.
        std::thread::sleep(std::time::Duration::from_millis(300));
        let before = fs::read_to_string(place.path().join(events)).unwrap();
        assert!(!before.contains("not at it any more"), "{operation}");
        kill_machine(&place, events);
        let ended = place.finish(child);
        assert_eq!(ended.code, Some(4), "{operation}: {}", ended.seen());
        assert!(
            ended.stdout.contains("(signal: 9 (SIGKILL))"),
            "{operation}: {}",
            ended.seen()
        );
        place.assert_tidy();
    }
}
