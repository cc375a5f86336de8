//! Scripts in a CPython: the same reports as in the embedded interpreter, packages in machine code, and Pythons that do
//! not do what they should.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Place, Pty, fixture_path, signal};
use crate::language::the_test_api_works;

/// The option for this machine's Python.
const PYTHON: [&str; 2] = ["--python", "/usr/bin/python3"];

/// The lines of a run, without the one that names the interpreter.
fn shown(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("running "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn failures_are_reported_as_by_the_embedded_interpreter() {
    let fixtures: [(&str, &[&str]); 3] = [
        ("assertions.nix", &["--keep-going"]),
        (
            "failing.nix",
            &["-A", "subtests", "--keep-going", "--only", "first|inside"],
        ),
        ("failing.nix", &["-A", "causes", "--keep-going"]),
    ];
    for (fixture, arguments) in fixtures {
        let place = Place::new();
        let embedded = place.run_fixture(fixture, &[arguments, &["--cold"]].concat());
        let with_python = [arguments, &["--cold"], &PYTHON[..]].concat();
        let ended = place.run_fixture(fixture, &with_python);
        let folder = fs::read_dir(place.path()).unwrap();
        let mut results = folder.map(|entry| entry.unwrap().path().join("events.jsonl"));
        let events = results
            .find_map(|file| fs::read_to_string(file).ok())
            .unwrap();
        assert!(events.contains("the script runs in CPython 3."), "{events}");
        assert_eq!(ended.code, embedded.code);
        assert_eq!(shown(&ended.stdout), shown(&embedded.stdout), "{fixture}");
        place.assert_tidy();
    }
}

#[test]
fn the_whole_test_api() {
    the_test_api_works(&PYTHON);
}

#[test]
fn a_package_in_machine_code_chooses_it() {
    let place = Place::new();
    insta::assert_snapshot!(place.run_fixture("cpython.nix", &["-A", "numpy"]).seen());
}

#[test]
fn a_package_in_machine_code_without_a_python() {
    let place = Place::new();
    insta::assert_snapshot!(place.run_fixture("cpython.nix", &["-A", "fast"]).seen());
}

#[test]
fn what_python_can_do_does_not_harm_the_run() {
    let place = Place::new();
    let arguments = [&["-A", "attempts"], &PYTHON[..]].concat();
    let ended = place.run_fixture("cpython.nix", &arguments);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    for line in [
        "from a program",
        "\u{fffd} is no text",
        "TypeError a value of type 'bytes' means nothing to a machine",
        "OverflowError Python int too large to convert to Rust i64",
        "ValueError a number that is not finite",
        "TypeError a value of type 'object' means nothing to a machine",
        "an argument holds a NUL byte, which no command or path can have: \"echo \\0\"",
        "['a\\n', 'b\\n']",
        "this took longer than 1 s",
        "the first one",
        "error: thread 'lonely' ended by ValueError: the first one",
        "subtest failed: Mute ([T] s)",
        "subtest failed: deep ([T] s)",
        "machine: must succeed: echo $((6 * 7))",
        "at the end",
        "error: SystemExit: the script ended itself: the end",
    ] {
        let found = ended.stdout.lines().any(|shown| shown == line);
        assert!(found, "{line:?} is missing:\n{}", ended.seen());
    }
    let deadlines = ended.stdout.matches("this took longer than 1 s\n").count();
    assert_eq!(deadlines, 3, "{}", ended.seen());
    place.assert_tidy();
}

#[test]
fn a_python_that_goes_away_is_no_success() {
    for (test, how) in [("killed", "by SIGKILL"), ("left", "with the exit code 0")] {
        let place = Place::new();
        let arguments = [&["-A", test], &PYTHON[..]].concat();
        let ended = place.run_fixture("cpython.nix", &arguments);
        assert_eq!(ended.code, Some(1), "{}", ended.seen());
        assert!(
            ended.stdout.contains("PythonEnded: CPython 3."),
            "{}",
            ended.seen()
        );
        assert!(
            ended.stdout.contains(&format!(" has ended {how}\n")),
            "{}",
            ended.seen()
        );
        place.assert_tidy();
    }
}

#[test]
fn an_interrupt_ends_a_loop() {
    let place = Place::new();
    let file = fixture_path("cpython.nix");
    let file = file.to_str().unwrap();
    let run = ["run", "--nixpkgs", "builtin", file, "-A", "endless"];
    let child = place.start_shown(place.command(&[&run[..], &PYTHON].concat()));
    place.wait_for_text("shown", "begun");
    signal(child.id(), "INT");
    let ended = place.finish(child);
    let text = fs::read_to_string(place.path().join("shown")).unwrap();
    assert_eq!(ended.code, Some(130), "{text}");
    assert!(
        text.contains("Interrupted: the run was interrupted"),
        "{text}"
    );
    assert!(text.contains("while True:"), "{text}");
    place.assert_tidy();
}

/// A call that is not that of the last run is found, whatever ran the script.
#[test]
fn it_is_restored_and_recorded() {
    let place = Place::new();
    let script = |last: &str| {
        format!(
            r#"(import <nixpkgs> {{ }}).nixosTest {{ name = "x"; nodes.machine.virtualisation.guest = "tiny"; testScript = ''
                import datetime, random, time
                machine.succeed("echo begin")
                checkpoint("begun")
                print("at", datetime.datetime.now(), time.time(), random.random())
                machine.succeed("echo {last}")
            ''; }}"#
        )
    };
    let run = |last: &str| {
        let file = place.write("test.nix", &script(last));
        let arguments = ["run", "--nixpkgs", "builtin", file.to_str().unwrap()];
        let mut command = place.command_again(&[&arguments[..], &PYTHON].concat());
        let ended = place.finish(command.spawn().unwrap());
        assert_eq!(ended.code, Some(0), "{}", ended.seen());
        let text = fs::read_to_string(place.path().join("result-x/events.jsonl")).unwrap();
        let line = text
            .lines()
            .find(|line| line.contains("\"at "))
            .unwrap()
            .to_owned();
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        (ended.stdout, read["text"].as_str().unwrap().to_owned())
    };
    let (first, clocks) = run("one");
    assert!(first.starts_with("cold\n"), "{first}");
    let (second, clocks_again) = run("two");
    assert!(second.starts_with("from checkpoint"), "{second}");
    assert_eq!(clocks, clocks_again);
}

#[test]
fn prompts_work_among_its_names() {
    let place = Place::new();
    let typed = "x = 6 * 7\nx\nif x:\n    print('a block')\n\ndef f():\n    nothing()\n\nf()\n1 +\nmachine.succeed('exit 3')\ntest_script()\nexit()\n";
    let file = fixture_path("hello.nix");
    let session = |more: &[&str]| {
        let arguments = ["repl", "--nixpkgs", "builtin", file.to_str().unwrap()];
        let ended = place.run_typed(&[&arguments[..], more].concat(), typed);
        assert_eq!(ended.code, Some(0), "{}", ended.seen());
        let syntax = ended
            .stdout
            .lines()
            .filter(|line| !line.contains("SyntaxError"));
        shown(&syntax.collect::<Vec<_>>().join("\n"))
    };
    assert_eq!(session(&PYTHON), session(&[]));
    place.assert_tidy();
}

#[test]
fn breakpoints_show_the_names_of_their_line() {
    let place = Place::new();
    let file = place.write(
        "test.nix",
        r#"(import <nixpkgs> { }).nixosTest { name = "x"; nodes.machine.virtualisation = { guest = "tiny"; backend = "container"; };
            testScript = ''
            def work(number):
                breakpoint()
                return number
            assert work(41) == 41
        ''; }"#,
    );
    let arguments = ["run", "--nixpkgs", "builtin", file.to_str().unwrap()];
    let mut user = Pty::spawn(&mut place.command(&[&arguments[..], &PYTHON].concat()));
    user.wait_for(">>> ");
    user.type_in("number + 1\n");
    user.wait_for("42");
    user.type_in("machine.succ\t('hostname')\n");
    user.wait_for("must succeed: hostname");
    user.type_in("1 / 0\n");
    user.wait_for("ZeroDivisionError");
    user.wait_for(">>> ");
    user.type_in("\x04");
    assert_eq!(user.end(), Some(0));
}

#[test]
fn a_python_that_will_not_do_is_wrong_usage() {
    let place = Place::new();
    let old = place.write("old-python", "#!/bin/sh\necho snowglobe cpython 3.9.2\n");
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
    for (python, said) in [
        (
            old.to_str().unwrap(),
            "is Python 3.9.2: scripts need Python 3.11 or newer; `--python PATH` names another one",
        ),
        (
            "/bin/cat",
            "is no CPython: `--python` takes the path of one, such as /usr/bin/python3",
        ),
        (
            "/nonexistent/python",
            "there is no program /nonexistent/python",
        ),
    ] {
        let ended = place.run(&["run", "test.nix", "--python", python]);
        assert_eq!(ended.code, Some(2), "{}", ended.seen());
        assert!(ended.stderr.contains(said), "{}", ended.seen());
    }
}
