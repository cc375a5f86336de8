//! Scripts that go back: `rewind()`, `branch()`, and subtests that begin from a checkpoint.

use std::fs;

use crate::harness::{Ended, Place};

/// A test of two tiny machines with this script, run with options.
fn run(place: &Place, script: &str, options: &[&str]) -> Ended {
    place.write("script.py", script);
    place.write(
        "test.nix",
        r#"
          (import <nixpkgs> { }).nixosTest {
            name = "back";
            nodes.one.virtualisation.guest = "tiny";
            nodes.two.virtualisation.guest = "tiny";
            testScript = builtins.readFile ./script.py;
          }
        "#,
    );
    let arguments = [&["run", "--nixpkgs", "builtin", "test.nix"], options].concat();
    let child = place.command_again(&arguments).spawn().unwrap();
    place.finish(child)
}

const SCRIPT: &str = r#"
start_all()
one.succeed("echo set-up > /tmp/state")
two.succeed("echo set-up > /tmp/state")
one.succeed("echo before the checkpoint > /dev/console")
visits = []
filled = checkpoint("filled")

for case in ["first", "second"]:
    with branch(filled):
        visits.append(case)
        assert one.succeed("cat /tmp/state") == "set-up\n", case
        one.succeed(f"echo {case} > /tmp/state; echo in the {case} branch > /dev/console")
        two.succeed("rm /tmp/state")
assert one.succeed("cat /tmp/state") == "set-up\n"
assert two.succeed("cat /tmp/state") == "set-up\n"
assert visits == ["first", "second"]

# The machines are on their network again, and a machine that was shut down is back.
two.shutdown()
rewind("filled")
one.succeed("ping -c 1 two")
two.crash()
rewind(filled)
two.succeed("test -e /tmp/state")

with subtest("destroys", checkpoint=filled):
    one.succeed("rm /tmp/state")
with subtest("begins anew", checkpoint=filled):
    one.succeed("test -e /tmp/state")
    one.succeed("echo left > /tmp/left")

try:
    rewind("none")
except MachineError as error:
    print(error)
print("END")
"#;

#[test]
fn machines_become_what_they_were() {
    let place = Place::new();
    for options in [&["--cold"][..], &[]] {
        let ended = run(&place, SCRIPT, options);
        assert_eq!(ended.code, Some(0), "{}", ended.seen());
        let lines: Vec<&str> = ended.stdout.lines().collect();
        let rewound = lines.iter().filter(|line| line.starts_with("rewound to"));
        // After a checkpoint without further calls, a rewind has nothing to do.
        assert_eq!(rewound.count(), 6, "{}", ended.seen());
        assert!(
            ended
                .stdout
                .contains("there is no checkpoint `none`; there are: filled"),
            "{}",
            ended.seen()
        );
    }
    // No line of a console is lost, and none comes twice.
    let console =
        std::fs::read_to_string(place.path().join("result-back/console/one.log")).unwrap();
    for line in [
        "before the checkpoint",
        "in the first branch",
        "in the second branch",
    ] {
        assert_eq!(console.matches(line).count(), 1, "{line}: {console}");
    }
    // A run that is restored goes back as well, and what it has from before it.
    let edited = SCRIPT.replace("END", "END 2").replace(
        "print(\"END",
        "one.succeed(\"test -e /tmp/left\")\nrewind(filled)\none.fail(\"test -e /tmp/left\")\nprint(\"END",
    );
    let ended = run(&place, &edited, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert!(
        ended.stdout.starts_with("restored:") || ended.stdout.contains("recorded"),
        "{}",
        ended.seen()
    );
    place.assert_tidy();
}

#[test]
fn a_rewind_beside_calls_is_refused() {
    let place = Place::new();
    let script = r#"
import threading, time
start_all()
one.succeed("true")
two.succeed("true")
here = checkpoint("here")
thread = threading.Thread(target=lambda: two.succeed("sleep 3"))
thread.start()
time.sleep(1)
with branch(here):
    pass
"#;
    let ended = run(&place, script, &["--cold"]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    assert!(
        ended.seen().contains(
            "cannot rewind to the checkpoint `here`: another thread calls a machine; wait for it first"
        ),
        "{}",
        ended.seen()
    );
    place.assert_tidy();
}

#[test]
fn containers_cannot_go_back() {
    let place = Place::new();
    let script = "start_all()\nhere = checkpoint(\"here\")\none.succeed(\"true\")\nrewind(here)\n";
    let ended = run(&place, script, &["--backend", "container"]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    assert!(
        ended
            .seen()
            .contains("the checkpoint `here` could not be taken"),
        "{}",
        ended.seen()
    );
}

#[test]
fn a_failure_in_a_branch_keeps_the_machines() {
    let place = Place::new();
    let script = r#"
start_all()
one.succeed("true")
here = checkpoint("here")
with subtest("breaks"), branch(here):
    one.succeed("echo broken > /tmp/broken")
    one.succeed("cat /tmp/broken; false")
"#;
    let ended = run(&place, script, &["--cold"]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    assert!(ended.seen().contains("broken"), "{}", ended.seen());
    assert!(!ended.stdout.contains("rewound to"), "{}", ended.seen());
}

#[test]
fn the_first_failure_of_repeated_runs_stays() {
    let place = Place::new();
    let script = r#"
start_all()
one.succeed("sleep 2")
with subtest("flaky"):
    assert int(one.succeed("od -An -N1 -tu1 /dev/urandom")) < 0
"#;
    let options = ["--from", "flaky", "--repeat", "4", "--jobs", "2"];
    let ended = run(&place, script, &options);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    let counts = "4 attempts: 4 failed";
    assert!(ended.stdout.contains(counts), "{}", ended.seen());
    let first = "the first failure is in [DIR]/result-back: ";
    assert!(ended.seen().contains(first), "{}", ended.seen());
    assert_eq!(ended.seen().matches("the first failure").count(), 1);
    let options = [
        "--from",
        "flaky",
        "--repeat",
        "9",
        "--until-failure",
        "--jobs",
        "2",
    ];
    let ended = run(&place, script, &options);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    let most = ended.stdout.matches("failed: ").count();
    assert!(most <= 3, "{}", ended.seen());
    place.assert_tidy();
}

#[test]
fn repeated_runs_start_from_a_subtest() {
    let place = Place::new();
    let script = r#"
start_all()
one.succeed("sleep 2")
with subtest("set-up"):
    one.succeed("echo once >> /tmp/runs")
with subtest("flaky"):
    assert one.succeed("cat /tmp/runs") == "once\n"
    one.succeed("echo once >> /tmp/runs")
    number = one.succeed("cat /proc/sys/kernel/random/uuid")
    print("number", number)
"#;
    let options = ["--from", "flaky", "--repeat", "3", "--jobs", "2"];
    let ended = run(&place, script, &options);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let boots = ended.stdout.matches("one: must succeed: sleep 2").count();
    assert_eq!(boots, 1, "{}", ended.seen());
    assert_eq!(ended.stdout.matches("passed: ").count(), 4);
    let counts = "3 attempts: 3 passed";
    assert!(ended.stdout.contains(counts), "{}", ended.seen());
    let folders = ["", "attempt-2/", "attempt-3/"];
    let events = folders.map(|folder| {
        // The second one has no folder of its own if it has waited for the first one.
        let file = format!("result-back/{folder}events.jsonl");
        fs::read_to_string(place.path().join(file)).unwrap()
    });
    for further in &events[1..] {
        assert!(
            further.contains(r#""checkpoint":{"name":"flaky""#),
            "{further}"
        );
    }
    let numbers: std::collections::HashSet<&str> = events
        .iter()
        .filter_map(|text| text.split(r#""text":"number "#).nth(1))
        .map(|text| text.split('"').next().unwrap())
        .collect();
    assert_eq!(numbers.len(), 3, "{numbers:?}");
    // Nothing of them is in the recording, which serves the next run.
    let ended = run(&place, script, &["--from", "flaky"]);
    assert!(
        ended.stdout.starts_with("from checkpoint \"flaky\""),
        "{}",
        ended.seen()
    );
    let ended = run(&place, script, &["--from", "nothing"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let reason = "cold: the last run took no checkpoint `nothing`; it took: ";
    assert!(ended.stdout.starts_with(reason), "{}", ended.seen());
    place.assert_tidy();
}
