//! `snowglobe debug`: the prompt before a failure, at a line, and at a subtest.

use crate::harness::{Ended, Place};

fn write(place: &Place, script: &str) {
    place.write("script.py", script);
    place.write(
        "test.nix",
        r#"
          (import <nixpkgs> { }).nixosTest {
            name = "bugs";
            nodes.machine.virtualisation.guest = "tiny";
            testScript = builtins.readFile ./script.py;
          }
        "#,
    );
}

/// Runs a command on the test, with a text as all that is typed.
fn typed(place: &Place, arguments: &[&str], text: &str) -> Ended {
    let typed = place.write("typed", text);
    let mut command =
        place.command_again(&[arguments, &["--nixpkgs", "builtin", "test.nix"]].concat());
    command.stdin(std::fs::File::open(typed).unwrap());
    place.finish(command.spawn().unwrap())
}

/// The lines of an output between the prompts.
fn lines(ended: &Ended) -> Vec<&str> {
    ended.stdout.lines().collect()
}

const SCRIPT: &str = r#"start_all()
machine.succeed("echo set-up > /tmp/state; sleep 4")
seen = []
for number in range(3):
    seen.append(number)
    assert machine.succeed(f"echo {number}") != "2\n"
with subtest("later"):
    machine.succeed("true")
"#;

#[test]
fn the_prompt_opens_before_the_failure() {
    let place = Place::new();
    write(&place, SCRIPT);
    let failed = typed(&place, &["run"], "");
    assert_eq!(failed.code, Some(1), "{}", failed.seen());
    let hint = "debug it: snowglobe debug --nixpkgs builtin test.nix";
    assert!(lines(&failed).contains(&hint), "{}", failed.seen());
    let debug = || {
        typed(
            &place,
            &["debug"],
            "seen\nmachine.succeed('cat /tmp/state; rm /tmp/state')\nrewind('here')\nmachine.succeed('cat /tmp/state')\nwhere()\n",
        )
    };
    // What the user does there is no part of the recording: it can be done again.
    for _ in 0..2 {
        let ended = debug();
        assert_eq!(ended.code, Some(1), "{}", ended.seen());
        let shown = lines(&ended);
        assert!(shown.contains(&"[0, 1, 2]"), "{}", ended.seen());
        assert!(
            ended.stdout.contains("rewound to the checkpoint \"here\""),
            "{}",
            ended.seen()
        );
        let state = shown.iter().filter(|line| **line == "'set-up\\n'");
        assert_eq!(state.count(), 2, "{}", ended.seen());
        let here = "    assert machine.succeed(f\"echo {number}\") != \"2\\n\"";
        let is_here = |line: &&&str| line.starts_with("> ") && line.ends_with(here);
        assert!(shown.iter().any(|line| is_here(&line)), "{}", ended.seen());
        assert!(
            ended.stdout.contains("this is not true"),
            "{}",
            ended.seen()
        );
    }
    place.assert_tidy();
}

#[test]
fn the_prompt_opens_at_a_line_and_goes_on_in_steps() {
    let place = Place::new();
    write(&place, &SCRIPT.replace("!= \"2", "!= \"3"));
    let at = |at: &str, text: &str| typed(&place, &["debug", "--at", at], text);
    let ended = at(
        "script.py:3",
        "step()\nseen\nstep()\nstep()\nnumber\nseen\ngo('none')\ngo('later')\nseen\n",
    );
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let values: Vec<&str> = lines(&ended)
        .into_iter()
        .filter(|line| line.starts_with('[') || *line == "0")
        .collect();
    assert_eq!(values, ["[]", "0", "[0]", "[0, 1, 2]"], "{}", ended.seen());
    assert!(
        ended
            .stdout
            .contains("there is no subtest 'none'; there are: later"),
        "{}",
        ended.seen()
    );
    // A subtest; and there is nothing else.
    let ended = at("later", "seen\n");
    assert!(lines(&ended).contains(&"[0, 1, 2]"), "{}", ended.seen());
    for (place, message) in [
        (
            "40",
            "error: no statement of the script is at line 40; the nearest one is on line 8\n",
        ),
        (
            "other.py:1",
            "error: no statement of the script is at other.py:1\n",
        ),
        (
            "latter",
            "error: there is no subtest \"latter\"; there are: later\n",
        ),
    ] {
        let ended = at(place, "");
        assert_eq!((ended.code, &*ended.stderr), (Some(2), message));
    }
    place.assert_tidy();
}

#[test]
fn other_machines_and_interpreters_are_debugged_as_well() {
    let place = Place::new();
    write(&place, SCRIPT);
    // Containers are not saved: the script runs to the place.
    let arguments = ["debug", "--backend", "container", "--at", "later"];
    let ended = typed(&place, &arguments, "");
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    let fixed = SCRIPT.replace("!= \"2", "!= \"3");
    write(&place, &fixed);
    for more in [&[][..], &["--python", "/usr/bin/python3"]] {
        let arguments = [&arguments[..], more].concat();
        let ended = typed(
            &place,
            &arguments,
            "machine.succeed('cat /tmp/state')\nseen\nstep()\nwhere()\n",
        );
        assert_eq!(ended.code, Some(0), "{}", ended.seen());
        assert!(lines(&ended).contains(&"'set-up\\n'"), "{}", ended.seen());
        assert!(lines(&ended).contains(&"[0, 1, 2]"), "{}", ended.seen());
    }
    place.assert_tidy();
}
