//! The test API on real machines, subtests, and what a failure looks like.

use std::fs;

use insta::assert_snapshot;

use crate::harness::Place;

#[test]
fn snowglobe_extensions() {
    the_test_api_works(&[]);
}

/// Runs the script that uses the whole test API.
pub fn the_test_api_works(options: &[&str]) {
    let place = Place::new();
    let ended = place.run_fixture("language.nix", &[&["-A", "words"], options].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert!(
        ended.stdout.contains("machine # shown from now on"),
        "{}",
        ended.seen()
    );
    assert!(
        ended.stdout.contains("\nwith a thread left running\n"),
        "{}",
        ended.seen()
    );
    place.assert_tidy();
}

#[test]
fn deadlines_that_the_script_does_not_give_are_scaled() {
    let place = Place::new();
    let file = place.write(
        "test.nix",
        r#"(import <nixpkgs> { }).nixosTest { name = "x"; nodes.machine.virtualisation.guest = "tiny"; testScript = ''
            machine.connect()
            for wait in (
                lambda: machine.wait_for_file("/never"),
                lambda: machine.wait_until_succeeds("false"),
                lambda: retry(lambda last: False),
                lambda: machine.wait_for_file("/never", timeout=2),
            ):
                try:
                    wait()
                except RequestedAssertionFailed as error:
                    print(error)
        ''; }"#,
    );
    let arguments = [
        "run",
        "--nixpkgs",
        "builtin",
        file.to_str().unwrap(),
        "--timeout-factor",
        "0.001",
    ];
    let ended = place.run(&arguments);
    assert!(ended.stdout.contains("×0.001)"), "{}", ended.seen());
    for part in [
        "waiting for file /never on machine took longer than [T] s\n",
        "waiting for `false` to succeed on machine took longer than [T] s\n",
        "what was retried did not come true within [T] s\n",
        "waiting for file /never on machine took longer than 2 s\n",
    ] {
        assert!(
            ended.stdout.contains(part),
            "{part:?} is missing:\n{}",
            ended.seen()
        );
    }
    let ended = place.run(&["run", "x.nix", "--timeout-factor", "-1"]);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
}

#[test]
fn machines_that_are_no_nodes() {
    let place = Place::new();
    let ended = place.run_fixture("language.nix", &["-A", "further"]);
    // A QEMU that ends by itself is no verdict on the test.
    assert_eq!(ended.code, Some(4), "{}", ended.seen());
    let expected = "MachineError: machine machine-2 has ended (exit status: 1): qemu: could not open kernel file '/nonexistent'";
    assert!(ended.stdout.contains(expected), "{}", ended.seen());
    place.assert_tidy();
}

#[test]
fn packages_of_python() {
    let place = Place::new();
    let ended = place.run_fixture("language.nix", &["-A", "packages"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert!(
        ended.stdout.contains("\nhello, world\n"),
        "{}",
        ended.seen()
    );
}

#[test]
fn a_failed_subtest_ends_the_run() {
    let place = Place::new();
    assert_snapshot!(place.run_fixture("failing.nix", &["-A", "subtests"]).seen());
}

#[test]
fn keep_going() {
    let place = Place::new();
    let ended = place.run_fixture("failing.nix", &["-A", "subtests", "--keep-going"]);
    assert_snapshot!(ended.seen());
    let report = fs::read_to_string(place.path().join("result-subtests/junit.xml")).unwrap();
    assert!(
        report.contains(r#"tests="6" skipped="0" failures="3""#),
        "{report}"
    );
    let events = fs::read_to_string(place.path().join("result-subtests/events.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    assert_eq!(last["failures"].as_array().unwrap().len(), 2);
    assert_eq!(last["failures"][0]["subtest"], "second");
    assert_eq!(
        last["failures"][0]["traceback"][0]["file_line"],
        last["failures"][0]["statement"]["start"]["line"]
            .as_u64()
            .unwrap()
            + 3
    );
}

/// As those of pytest: with the values of their expressions, and the difference of what was compared.
#[test]
fn assertions_explain_themselves() {
    let place = Place::new();
    let ended = place.run_fixture("assertions.nix", &["--keep-going"]);
    assert_snapshot!(ended.seen());
    let folder = place.path().join("result-assertions");
    let values = fs::read_to_string(folder.join("assertion.txt")).unwrap();
    assert!(values.starts_with("wanted = 'line 0\\n"), "{values}");
    assert!(values.contains("line 99'\ngot = "), "{values}");
}

#[test]
fn only_some_subtests() {
    let place = Place::new();
    let ended = place.run_fixture(
        "failing.nix",
        &["-A", "subtests", "--only", "first|inside", "--keep-going"],
    );
    assert_snapshot!(ended.seen());
}

#[test]
fn no_subtest_of_that_name() {
    let place = Place::new();
    let arguments = ["-A", "subtests", "--only", "nothing"];
    assert_snapshot!(place.run_fixture("failing.nix", &arguments).seen());
}

#[test]
fn causes_deadlines_and_threads() {
    let place = Place::new();
    let ended = place.run_fixture("failing.nix", &["-A", "causes", "--keep-going"]);
    assert_snapshot!(ended.seen());
    let report = fs::read_to_string(place.path().join("result-causes/junit.xml")).unwrap();
    assert!(
        report.contains(r#"tests="5" skipped="0" failures="3""#),
        "{report}"
    );
}

#[test]
fn a_pattern_that_is_none() {
    let place = Place::new();
    assert_snapshot!(
        place
            .run_fixture("failing.nix", &["--only", "(", "-A", "subtests"])
            .seen()
    );
}

#[test]
fn output_and_errors_of_a_failed_command() {
    let place = Place::new();
    let ended = place.run_fixture("failing.nix", &["-A", "output"]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    for part in [
        "RequestedAssertionFailed: command `for i in $(seq -w 1 1000); do echo line $i; done; echo the reason >&2; exit 4` failed on machine (exit code 4)",
        "\nthe command (exit code 4):\n  for i in",
        "\nits standard output:\n  line 0001\n",
        " bytes; the whole is in [DIR]/result-output/failed-command.stdout …]\n",
        "\n  line 1000\nits standard error:\n  the reason\n",
        "\nthe console of machine ends:\n",
        "\nsaved [DIR]/result-output/failed-command.stdout\n",
    ] {
        assert!(
            ended.stdout.contains(part),
            "{part:?} is missing:\n{}",
            ended.seen()
        );
    }
    let whole =
        fs::read_to_string(place.path().join("result-output/failed-command.stdout")).unwrap();
    assert_eq!(whole.lines().count(), 1000);
}
