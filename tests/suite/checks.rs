//! The check of scripts: its findings, their places, and what they stop.

use std::fs;
use std::path::Path;

use insta::assert_snapshot;

use crate::harness::{Place, fixture_path};

fn check(place: &Place, arguments: &[&str]) -> crate::harness::Ended {
    let file = fixture_path("failing.nix");
    let file = file.to_str().unwrap();
    place.run(&[&["check", "--nixpkgs", "builtin", file], arguments].concat())
}

#[test]
fn all_findings_at_once_with_their_lines() {
    assert_snapshot!(check(&Place::new(), &["-A", "checks"]).seen());
}

#[test]
fn findings_for_programs() {
    let ended = check(&Place::new(), &["-A", "checks", "--format", "json"]);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    let findings: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let first = &findings[0];
    assert_eq!(first["code"], "unknown-name");
    assert_eq!(first["level"], "error");
    assert_eq!(first["test"], "checks");
    let line = usize::try_from(first["start"]["line"].as_u64().unwrap()).unwrap();
    let file = fs::read_to_string(fixture_path("failing.nix")).unwrap();
    assert!(
        file.lines()
            .nth(line - 1)
            .unwrap()
            .contains("return missing_name")
    );
}

#[test]
fn a_wrong_script_does_not_run() {
    let place = Place::new();
    let ended = place.run_fixture("failing.nix", &["-A", "checks"]);
    assert_snapshot!(ended.seen());
    // The reports say so, in the place of those of an earlier run.
    let results = fs::read_to_string(place.path().join("result-checks/run.json")).unwrap();
    assert!(results.contains("\"outcome\": \"not_run\""), "{results}");
    let junit = fs::read_to_string(place.path().join("result-checks/junit.xml")).unwrap();
    assert!(junit.contains("errors=\"1\""), "{junit}");
    assert!(
        !place
            .path()
            .join("result-checks/events.jsonl")
            .metadata()
            .is_ok_and(|it| it.len() > 0)
    );
}

#[test]
fn a_test_can_leave_the_check_out() {
    let place = Place::new();
    let ended = check(&place, &["-A", "unchecked"]);
    assert_eq!(
        ended.seen(),
        "exit code: 0\n--- stdout\nunchecked: no findings\n--- stderr\n"
    );
}

#[test]
fn a_run_can_leave_the_check_out() {
    let place = Place::new();
    let file = place.write(
        "test.nix",
        "(import <nixpkgs> { }).nixosTest { name = \"x\"; nodes.machine = { virtualisation.guest = \"tiny\"; };\n\
         testScript = \"def never():\\n    machine.nonsense()\\n\"; }\n",
    );
    let file = file.to_str().unwrap();
    let ended = place.run(&["run", "--nixpkgs", "builtin", file]);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    let ended = place.run(&["run", "--nixpkgs", "builtin", file, "--no-check"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
}

#[test]
fn a_script_without_a_test() {
    let place = Place::new();
    place.write(
        "script.py",
        "server.start()\nclient.suceed('x')\nfoo = bar\n",
    );
    let guessed = place.run(&["check", "--script", "script.py"]);
    let given = place.run(&["check", "--script", "script.py", "--nodes", "server,client"]);
    assert_snapshot!(format!("{}\n{}", guessed.seen(), given.seen()));
}

#[test]
fn scripts_that_are_no_text() {
    let place = Place::new();
    fs::write(place.path().join("nul.py"), b"x = 1\0\n").unwrap();
    fs::write(place.path().join("bytes.py"), b"x = '\xff'\n").unwrap();
    let nul = place.run(&["check", "--script", "nul.py"]);
    let bytes = place.run(&["check", "--script", "bytes.py"]);
    let missing = place.run(&["check", "--script", "missing.py"]);
    let nothing = place.run(&["check"]);
    assert_snapshot!(format!(
        "{}\n{}\n{}\n{}",
        nul.seen(),
        bytes.seen(),
        missing.seen(),
        nothing.seen()
    ));
}

#[test]
fn a_script_of_ten_megabytes() {
    let place = Place::new();
    let mut script = "machine.succeed('true')\n".repeat(440_000);
    script.push_str("nonsense\n");
    assert!(script.len() > 10_000_000);
    place.write("long.py", &script);
    let ended = place.run(&["check", "--script", "long.py"]);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    assert!(
        ended.stdout.contains("long.py:440001:1"),
        "{}",
        ended.seen()
    );
}

#[test]
fn types_are_checked_by_ty() {
    let place = Place::new();
    place.write(
        "script.py",
        "number = 1\nserver.succeed(number)\nprint(server.pid + 1)\n",
    );
    let ended = check_types(&place);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    for part in ["script.py:2:16", "invalid-argument-type", "script.py:3:7"] {
        assert!(
            ended.stdout.contains(part),
            "{part:?} is missing:\n{}",
            ended.seen()
        );
    }
}

/// Checks script.py, which has the machine `server`, by the `ty` that
/// scripts/setup.sh installs.
fn check_types(place: &Place) -> crate::harness::Ended {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin");
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let arguments = [
        "check",
        "--types",
        "--script",
        "script.py",
        "--nodes",
        "server",
    ];
    let mut command = place.command(&arguments);
    place.finish(command.env("PATH", path).spawn().unwrap())
}

#[test]
fn names_of_nixpkgs_drivers_draw_no_finding() {
    let place = Place::new();
    place.write(
        "script.py",
        r#"
driver.machines_qemu[0].succeed("x")
for machine in machines_nspawn + machines_qemu + driver.machines_nspawn:
    print(machine)


def describe(one: QemuMachine, other: NspawnMachine, any: BaseMachine):
    return one.name + other.name + any.name


try:
    server.succeed("true")
except MachineFailure as sick:
    print(sick)
except MachineError as error:
    print(error)
"#,
    );
    assert_eq!(
        check_types(&place).seen(),
        "exit code: 0\n--- stdout\nscript.py: no findings\n--- stderr\n"
    );
}

#[test]
fn where_ty_comes_from() {
    let place = Place::new();
    place.write("script.py", "server.start()\n");
    let mut command = place.command(&["check", "--types", "--script", "script.py"]);
    let ended = place.finish(command.env("PATH", "/nowhere").spawn().unwrap());
    assert_snapshot!(ended.seen());
}

#[test]
fn findings_as_sarif() {
    let place = Place::new();
    place.write("script.py", "server.start()\nsevrer.stop()\n");
    let arguments = [
        "check",
        "--script",
        "script.py",
        "--nodes",
        "server",
        "--format",
        "sarif",
    ];
    let ended = place.run(&arguments);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    let log: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let result = &log["runs"][0]["results"][0];
    assert_eq!(result["level"], "error");
    assert_eq!(result["ruleId"], "unknown-name");
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "script.py");
    let region =
        serde_json::json!({ "startLine": 2, "startColumn": 1, "endLine": 2, "endColumn": 7 });
    assert_eq!(place["region"], region);
}

#[test]
fn stubs_name_the_machines_of_a_test() {
    let place = Place::new();
    let file = fixture_path("postgrest.nix");
    let ended = place.run(&["stubs", "--nixpkgs", "builtin", file.to_str().unwrap()]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert!(
        ended
            .stdout
            .contains("\nclient: Machine\nserver: Machine\nvlan1: VLan\n"),
        "{}",
        ended.stdout
    );
}

#[test]
fn stubs_name_the_machines() {
    let place = Place::new();
    let ended = place.run(&["stubs", "--nodes", "web-server,db"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert!(
        ended
            .stdout
            .contains("\nweb_server: Machine\ndb: Machine\n"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains("\nclass Machine:\n"),
        "{}",
        ended.stdout
    );
}
