//! Prompts of scripts that wait in another process: `snowglobe attach`.

use std::fs;
use std::process::Child;

use crate::harness::{Ended, Place, Pty, fixture_path, signal, wait_until};

/// A test that stops in a function, and fails at its end.
const STOPS: &str = r#"
  (import <nixpkgs> { }).nixosTest {
    name = "stops";
    nodes.machine.virtualisation = { guest = "tiny"; backend = "container"; };
    testScript = ''
      def inner(number):
          breakpoint()
          return number

      print("got", inner(4))
      machine.fail("true")
    '';
  }
"#;

/// Starts a run that shows its lines in the file `shown`.
fn start(place: &Place, more: &[&str]) -> Child {
    place.write("test.nix", STOPS);
    let arguments = ["run", "--nixpkgs", "builtin", "test.nix", "-o", "out"];
    let command = place.command(&[&arguments[..], more].concat());
    place.start_shown(command)
}

fn shown(place: &Place) -> String {
    fs::read_to_string(place.path().join("shown")).unwrap()
}

/// Returns the command that the run has printed, after so many others.
fn invitation(place: &Place, before: usize) -> String {
    let begin = "the script waits: `snowglobe attach ";
    wait_until("an invitation", || {
        shown(place).matches(begin).count() > before
    });
    let text = shown(place);
    let rest = text.rsplit(begin).next().unwrap();
    rest.split('`').next().unwrap().to_owned()
}

/// Attaches a client that types lines.
fn attach(place: &Place, run: &[&str], typed: &str) -> Ended {
    place.run_typed(&[&["attach"], run].concat(), typed)
}

#[test]
fn a_breakpoint_and_a_failure_wait_for_a_user() {
    let place = Place::new();
    let run = start(&place, &["--on-failure", "wait"]);
    let name = invitation(&place, 0);
    let first = attach(
        &place,
        &[&name],
        "number + 1\nmachine.succeed('echo hi')\nif number:\n    print('a block')\n\n1 / 0\n",
    );
    insta::assert_snapshot!(first.seen());
    assert_eq!(invitation(&place, 1), name);
    // By the name of its test, and as the only one.
    let second = attach(&place, &["stops"], "machine.succeed('hostname')\nexit()\n");
    assert_eq!(second.code, Some(0), "{}", second.seen());
    assert!(second.stdout.contains("'machine\\n'"), "{}", second.seen());
    let ended = place.finish(run);
    let text = shown(&place);
    assert_eq!(ended.code, Some(1), "{text}");
    assert!(text.contains("\ngot 4\n"), "{text}");
    assert!(
        text.contains("command `true` unexpectedly succeeded"),
        "{text}"
    );
    let none = attach(&place, &[], "");
    assert_eq!(none.code, Some(2), "{}", none.seen());
    assert!(
        none.stderr.contains("no script of a test waits here"),
        "{}",
        none.seen()
    );
    place.assert_tidy();
}

#[test]
fn a_user_at_a_terminal_comes_and_goes() {
    let place = Place::new();
    let run = start(&place, &[]);
    invitation(&place, 0);
    let mut user = Pty::spawn(&mut place.command(&["attach"]));
    user.wait_for(">>> ");
    user.type_in("numb\t\n");
    user.wait_for("\r\n4\r\n");
    // There is one user at a time.
    let other = attach(&place, &["stops"], "");
    assert_eq!(other.code, Some(2), "{}", other.seen());
    assert!(
        other.stderr.contains("another user is at its prompt"),
        "{}",
        other.seen()
    );
    // Ctrl-C ends what was typed, not the run; and what it ends here is the start of the machine.
    user.type_in("machine.succeed('sleep 1000')\n");
    user.wait_for("must succeed: sleep 1000");
    user.type_in("\x03");
    user.wait_for("interrupted");
    user.wait_for(">>> ");
    // One whose process is killed in a call leaves the place to the next.
    user.type_in("machine.succeed('sleep 2000')\n");
    user.wait_for("must succeed: sleep 2000");
    user.type_in("\x1c");
    user.end();
    wait_until("a free place", || {
        attach(&place, &[], "print('next', number)\n")
            .stdout
            .contains("next 4")
    });
    let ended = place.finish(run);
    assert_eq!(ended.code, Some(1), "{}", shown(&place));
    place.assert_tidy();
}

#[test]
fn a_run_that_waits_can_be_ended() {
    let place = Place::new();
    let run = start(&place, &[]);
    invitation(&place, 0);
    signal(run.id(), "INT");
    let ended = place.finish(run);
    assert_eq!(ended.code, Some(130), "{}", shown(&place));
    place.assert_tidy();
    // No user comes.
    let ended = place.finish(start(&place, &["--global-timeout", "3"]));
    let text = shown(&place);
    assert_eq!(ended.code, Some(1), "{text}");
    assert!(text.contains("the test took longer than 3 s"), "{text}");
    place.assert_tidy();
}

/// Also in a CPython, whose names are in a third process.
#[test]
fn tests_that_run_side_by_side_wait_each_for_itself() {
    let place = Place::new();
    let file = fixture_path("cpython.nix");
    let arguments = [
        &["run", "--nixpkgs", "builtin", file.to_str().unwrap()][..],
        &[
            "-A",
            "fast",
            "-A",
            "numpy",
            "--on-failure",
            "wait",
            "-o",
            "out",
        ],
    ];
    let run = place.start_shown(place.command(&arguments.concat()));
    invitation(&place, 1);
    let user = attach(&place, &["fast"], "numpy\n");
    assert!(user.stdout.contains("NameError"), "{}", user.seen());
    let user = attach(&place, &["numpy"], "list(sizes)\n");
    assert_eq!(user.code, Some(0), "{}", user.seen());
    assert!(user.stdout.contains("[1, 2, 3]"), "{}", user.seen());
    let ended = place.finish(run);
    assert_eq!(ended.code, Some(1), "{}", shown(&place));
    place.assert_tidy();
}

/// As with `enableDebugHook` of nixpkgs, and without it.
#[test]
fn the_driver_waits_if_it_has_a_hook() {
    let place = Place::new();
    let script = place.write("script.py", "breakpoint()\nprint('went on')\n");
    let script = script.to_str().unwrap();
    let config = format!(
        r#"{{ "vms": {{}}, "vlans": [], "global_timeout": 600, "test_script": "{script}" }}"#
    );
    place.write("config.json", &config);
    let driver = ["driver", "--config", "config.json", "-o", "."];
    let ended = place.run(&driver);
    let warning = "there is no terminal, the test continues\n";
    assert!(ended.stdout.contains(warning), "{}", ended.seen());
    assert!(ended.stdout.contains("went on\n"), "{}", ended.seen());
    let hook = [&driver[..], &["--debug-hook-attach", "/a/hook"]].concat();
    let run = place.start_shown(place.command(&hook));
    let name = invitation(&place, 0);
    let user = attach(&place, &[&name], "'a' + 'b'\n");
    assert!(user.stdout.contains("'ab'\n"), "{}", user.seen());
    let ended = place.finish(run);
    assert_eq!(ended.code, Some(0), "{}", shown(&place));
}
