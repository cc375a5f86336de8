//! Tests that run: what a user sees, and what is in the output folder.

use std::fs;
use std::process::Command;

use insta::assert_snapshot;

use crate::harness::{Place, fixture_path, nixpkgs_tree};

#[test]
fn hello() {
    let place = Place::new();
    assert_snapshot!(place.run_fixture("hello.nix", &[]).seen());
    let console =
        fs::read_to_string(place.path().join("result-hello/console/machine.log")).unwrap();
    assert!(console.contains("connecting to host..."), "{console}");
    let report = fs::read_to_string(place.path().join("result-hello/junit.xml")).unwrap();
    assert!(
        report.contains(r#"tests="1" skipped="0" failures="0" errors="0""#),
        "{report}"
    );
    let manifest = fs::read_link(place.path().join("result-hello/manifest.json")).unwrap();
    assert!(manifest.starts_with("/nix/store"), "{manifest:?}");
    place.assert_tidy();
}

#[test]
fn the_manifest_is_protected_from_garbage_collection() {
    let place = Place::new();
    assert_eq!(
        place.run_fixture("hello.nix", &["-o", "kept"]).code,
        Some(0)
    );
    let link = place.path().join("kept/manifest.json");
    let roots = Command::new("nix-store")
        .args(["--query", "--roots"])
        .arg(fs::read_link(&link).unwrap())
        .output()
        .unwrap();
    let roots = String::from_utf8_lossy(&roots.stdout);
    assert!(roots.contains(link.to_str().unwrap()), "{roots}");
}

#[test]
fn events_are_a_json_object_a_line() {
    let place = Place::new();
    let ended = place.run_fixture("hello.nix", &["--format", "json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let names: Vec<String> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|event| event["event"].as_str().unwrap().to_owned())
        .filter(|name| !name.starts_with("build") && name != "console")
        .collect();
    assert_eq!(names[..2], ["begun", "test_started"]);
    assert_eq!(
        names[names.len() - 2..],
        ["test_finished", "report_written"]
    );
    let file = fs::read_to_string(place.path().join("result-hello/events.jsonl")).unwrap();
    // The place of the report is for those who look on.
    assert_eq!(file.lines().count() + 1, ended.stdout.lines().count());
}

#[test]
fn ping() {
    let place = Place::new();
    assert_snapshot!(place.run_fixture("ping.nix", &[]).seen());
    let report = fs::read_to_string(place.path().join("result-ping/junit.xml")).unwrap();
    assert!(report.contains("neighbours by name"), "{report}");
}

#[test]
fn reboot() {
    let place = Place::new();
    assert_snapshot!(place.run_fixture("reboot.nix", &[]).seen());
}

#[test]
fn all_tests_of_a_set_run() {
    let place = Place::new();
    assert_snapshot!(
        place
            .run_fixture("attrs.nix", &["--jobs", "1", "--eval-jobs", "1"])
            .seen()
    );
}

#[test]
fn one_test_of_a_set_with_an_argument() {
    let place = Place::new();
    let arguments = ["-A", "plain", "--argstr", "greeting", "it's \"fine\""];
    // The greeting is in a Python string in a shell command.
    let ended = place.run_fixture("attrs.nix", &arguments);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    let ended = place.run_fixture(
        "attrs.nix",
        &["-A", "plain", "--arg", "greeting", "''salut''"],
    );
    assert!(ended.stdout.contains("\nsalut\n"), "{}", ended.seen());
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
}

#[test]
fn a_test_of_nixpkgs_2020_over_vde() {
    let place = Place::new();
    let ended = place.run_fixture("legacy.nix", &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
}

#[test]
#[ignore = "needs a nixpkgs tree: SNOWGLOBE_NIXPKGS=PATH"]
fn tests_of_a_real_nixpkgs_evaluate() {
    let tree = nixpkgs_tree();
    let place = Place::new();
    // One machine, several, a set of tests, and a script with helpers.
    for (name, count) in [("login", 1), ("nginx", 1), ("ipv6", 1), ("hostname", 2)] {
        let file = format!("{tree}/nixos/tests/{name}.nix");
        let search = format!("nixpkgs={tree}");
        let ended = place.run(&["eval", &file, "-I", &search, "--format", "json"]);
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.seen());
        let manifests: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        let manifests = match manifests {
            serde_json::Value::Array(manifests) => manifests,
            one => vec![one],
        };
        assert!(manifests.len() >= count, "{name}: {}", ended.seen());
        for manifest in &manifests {
            assert!(!manifest["nodes"].as_object().unwrap().is_empty(), "{name}");
        }
    }
}

#[test]
fn files_screens_and_consoles() {
    let place = Place::new();
    let ended = place.run_fixture("files.nix", &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let output = place.path().join("result-files");
    assert_eq!(
        fs::read_to_string(output.join("logs/tree/inner.txt")).unwrap(),
        "from the guest\n"
    );
    assert!(
        fs::read(output.join("screen.png"))
            .unwrap()
            .starts_with(b"\x89PNG")
    );
}

#[test]
fn options_of_guest_debian() {
    let place = Place::new();
    let ended = place.run_fixture("debian.nix", &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
}

#[test]
fn the_tutorial() {
    let place = Place::new();
    assert_snapshot!(place.run_fixture("postgrest.nix", &[]).seen());
}

/// The page that Snowglobe started from: its test is the tutorial, to the letter.
#[test]
fn the_tutorial_is_the_pages_file() {
    let page = fs::read_to_string(fixture_path("integration-testing.md")).unwrap();
    let file = fs::read_to_string(fixture_path("postgrest.nix")).unwrap();
    assert!(page.contains(&file));
}

#[test]
fn functions_are_called_with_what_they_take() {
    let place = Place::new();
    let members = "nodes.m = { }; testScript = \"\";";
    place.write(
        "a.nix",
        &format!("{{ pkgs, ... }}: {{ name = \"a\"; {members} }}"),
    );
    let list = |text: &str, more: &[&str]| {
        let text = text.replace("MEMBERS", members);
        place.write("test.nix", &text);
        let ended = place.run(&[&["list", "--nixpkgs", "builtin", "test.nix"], more].concat());
        ended.stdout + &ended.stderr
    };
    for (text, listed) in [
        // A test that is finished, and the body of one.
        (
            "{ pkgs, ... }: pkgs.testers.runNixOSTest { name = \"x\"; MEMBERS }",
            "x: m\n",
        ),
        (
            "{ pkgs, lib }: pkgs.nixosTest { name = \"x\"; MEMBERS }",
            "x: m\n",
        ),
        (
            "{ runTest, ... }: runTest { name = \"x\"; MEMBERS }",
            "x: m\n",
        ),
        ("pkgs: pkgs.nixosTest { name = \"x\"; MEMBERS }", "x: m\n"),
        ("{ pkgs, lib, ... }: { name = \"x\"; MEMBERS }", "x: m\n"),
        // Sets of them, with helpers and what is for other systems beside them.
        (
            "{ handleTest, handleTestOn, ... }: { on = handleTestOn [ \"x86_64-linux\" ] ./a.nix { }; \
             off = handleTestOn [ \"riscv64-linux\" ] ./a.nix { }; \"h.t\" = handleTest ./a.nix { }; \
             helper = { a, b ? 1 }: a; inner.test = { pkgs, ... }: { name = \"b\"; MEMBERS }; }",
            "\"h.t\" (a): m\ninner.test (b): m\non (a): m\n",
        ),
        (
            "{ colour }: { name = \"x\"; MEMBERS }",
            "error: the file's value wants colour: give it with --arg\n",
        ),
    ] {
        assert_eq!(list(text, &[]), listed, "{text}");
    }
    let open = "{ pkgs ? import <nixpkgs> { }, ... }@all: pkgs.nixosTest { name = all.as or \"x\"; MEMBERS }";
    assert_eq!(list(open, &[]), "x: m\n");
    assert_eq!(list(open, &["--argstr", "as", "y"]), "y: m\n");
}

#[test]
fn a_manifest_without_building() {
    let place = Place::new();
    let file = fixture_path("ping.nix");
    let file = file.to_str().unwrap();
    let ended = place.run(&["eval", "--nixpkgs", "builtin", file, "--format", "json"]);
    let manifest: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(manifest["version"], 9);
    assert_eq!(manifest["vlans"], serde_json::json!([1, 2]));
    assert_eq!(
        manifest["nodes"]["alice"]["interfaces"],
        serde_json::json!(["eth1", "eth2"])
    );
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
}

#[test]
fn list() {
    let place = Place::new();
    let file = fixture_path("attrs.nix");
    let ended = place.run(&["list", "--nixpkgs", "builtin", file.to_str().unwrap()]);
    assert_snapshot!(ended.seen());
}

#[test]
fn failing_assertion() {
    let place = Place::new();
    let ended = place.run_fixture("failing.nix", &["-A", "assertion"]);
    assert_snapshot!(ended.seen());
    let report = fs::read_to_string(place.path().join("result-assertion/junit.xml")).unwrap();
    assert!(report.contains("one is not two"), "{report}");
}

#[test]
fn failing_command() {
    let place = Place::new();
    assert_snapshot!(place.run_fixture("failing.nix", &["-A", "command"]).seen());
}

#[test]
fn failing_unit() {
    let place = Place::new();
    let ended = place.run_fixture("failing.nix", &["-A", "unit"]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    for part in [
        "RequestedAssertionFailed: unit broken.service on machine has failed\n",
        "        machine.wait_for_unit(\"broken.service\")\n",
        "\nsystemctl status broken.service:\n",
        "Active: failed (Result: exit-code)",
        "\nits journal ends:\n",
        "\n  [FAILED] Failed to start broken.service.\n",
        "\nsaved [DIR]/result-unit/failure-machine.png\n",
        "I cannot work",
    ] {
        assert!(
            ended.stdout.contains(part),
            "{part:?} is missing:\n{}",
            ended.seen()
        );
    }
}

#[test]
fn failing_wait() {
    let place = Place::new();
    assert_snapshot!(place.run_fixture("failing.nix", &["-A", "wait"]).seen());
}

#[test]
fn kernel_panic() {
    let place = Place::new();
    let ended = place.run_fixture("failing.nix", &["-A", "panic"]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    for part in [
        "MachineFailure: machine machine has crashed: kernel panic: ",
        "Kernel panic - not syncing: Attempted to kill init!",
        "the console of machine ends:",
    ] {
        assert!(
            ended.stdout.contains(part),
            "{part:?} is missing:\n{}",
            ended.seen()
        );
    }
}
