//! Wrong input of every kind: one clear message and the right exit code.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use insta::assert_snapshot;

use crate::harness::{Ended, Place};

/// Runs the test file `text` with the built-in guests.
fn run(place: &Place, text: &str) -> Ended {
    let file = place.write("test.nix", text);
    place.run(&["run", "--nixpkgs", "builtin", file.to_str().unwrap()])
}

/// A test with these nodes, as a file's text.
fn with_nodes(nodes: &str) -> String {
    format!(
        "(import <nixpkgs> {{ }}).nixosTest {{\n  name = \"bad\";\n  nodes = {{\n{nodes}\n  }};\n  testScript = \"\";\n}}\n"
    )
}

#[test]
fn no_such_file() {
    let place = Place::new();
    assert_snapshot!(place.run(&["run", "missing.nix"]).seen());
}

#[test]
fn wrong_usage() {
    let place = Place::new();
    assert_snapshot!(place.run(&["run"]).seen());
}

#[test]
fn syntax_error_in_the_nix_file() {
    let place = Place::new();
    assert_snapshot!(run(&place, "{\n  name = \"x\"\n}\n").seen());
}

#[test]
fn no_test_script() {
    let place = Place::new();
    assert_snapshot!(run(&place, "{ name = \"x\"; nodes.machine = { }; }").seen());
}

#[test]
fn no_nodes() {
    let place = Place::new();
    let plain = run(&place, "{ name = \"x\"; testScript = \"\"; }");
    let empty = run(&place, &with_nodes(""));
    assert_snapshot!(format!("{}\n{}", plain.seen(), empty.seen()));
}

#[test]
fn one_of_several_tests_does_not_evaluate() {
    let place = Place::new();
    let test = |text: &str| {
        format!("{{ name = \"x\"; nodes.m.environment.etc.x.text = {text}; testScript = \"\"; }}")
    };
    let set = format!(
        "{{ good = {}; more.bad = {}; }}",
        test("\"\""),
        test("throw \"not yet\"")
    );
    let ended = run(&place, &set);
    assert_eq!(
        (ended.code, &*ended.stderr),
        (
            Some(2),
            "error: the test `more.bad` does not evaluate: not yet\n"
        )
    );
    assert!(
        ended
            .stdout
            .contains("\n2 tests in [T] s: 1 passed, 1 not run\n  not run: more.bad\n"),
        "{}",
        ended.seen()
    );
}

#[test]
fn not_a_test() {
    let place = Place::new();
    let number = run(&place, "42");
    let package = run(&place, "(import <nixpkgs> { }).jq");
    let set = run(&place, "{ a = 1; b = { c = \"x\"; }; }");
    assert_snapshot!(format!(
        "{}\n{}\n{}",
        number.seen(),
        package.seen(),
        set.seen()
    ));
}

#[test]
fn node_name_that_is_no_host_name() {
    let place = Place::new();
    assert_snapshot!(run(&place, &with_nodes("    \"web server\" = { };")).seen());
}

#[test]
fn nodes_that_become_one_python_name() {
    let place = Place::new();
    assert_snapshot!(run(&place, &with_nodes("    a-b = { };\n    a_b = { };")).seen());
}

#[test]
fn unknown_attribute() {
    let place = Place::new();
    assert_snapshot!(place.run_fixture("attrs.nix", &["-A", "plian"]).seen());
}

#[test]
fn unknown_option() {
    let place = Place::new();
    let text = with_nodes(
        "    machine = { lib, ... }: {\n      services = lib.mkIf true {\n        postgresq.enable = true;\n      };\n    };",
    );
    assert_snapshot!(run(&place, &text).seen());
}

#[test]
fn option_of_the_wrong_type() {
    let place = Place::new();
    let text = with_nodes("    machine.virtualisation.cores = \"two\";");
    assert_snapshot!(run(&place, &text).seen());
}

#[test]
fn systemd_in_a_guest_without() {
    let place = Place::new();
    let text = with_nodes(
        "    machine = {\n      virtualisation.guest = \"tiny\";\n      systemd.services.x.script = \"true\";\n    };",
    );
    assert_snapshot!(run(&place, &text).seen());
}

#[test]
fn package_that_is_not_set_up() {
    let place = Place::new();
    let text = with_nodes(
        "    machine = { pkgs, ... }: {\n      environment.systemPackages = [ pkgs.no-such-package ];\n    };",
    );
    assert_snapshot!(run(&place, &text).seen());
}

#[test]
fn derivation_that_does_not_build() {
    let place = Place::new();
    assert_snapshot!(place.run_fixture("failing.nix", &["-A", "builds"]).seen());
}

#[test]
fn script_with_a_syntax_error() {
    let place = Place::new();
    assert_snapshot!(place.run_fixture("failing.nix", &["-A", "script"]).seen());
}

#[test]
fn output_folder_that_cannot_be_written() {
    let place = Place::new();
    assert_snapshot!(
        place
            .run_fixture("hello.nix", &["-o", "/proc/result"])
            .seen()
    );
}

#[test]
fn output_folder_with_other_files() {
    let place = Place::new();
    assert_snapshot!(place.run_fixture("hello.nix", &["-o", "."]).seen());
}

#[test]
fn nixpkgs_that_is_none() {
    let place = Place::new();
    assert_snapshot!(place.run(&["run", "--nixpkgs", "/tmp", "x.nix"]).seen());
}

/// A PATH with these programs only.
fn path_of(place: &Place, programs: &[&str]) -> PathBuf {
    let folder = place.path().join("bin");
    std::fs::create_dir(&folder).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    for program in programs {
        let found = std::env::split_paths(&path)
            .map(|folder| folder.join(program))
            .find(|candidate| candidate.is_file())
            .unwrap();
        symlink(found, folder.join(program)).unwrap();
    }
    folder
}

fn with_path(place: &Place, programs: &[&str]) -> Ended {
    let path = path_of(place, programs);
    let file = crate::harness::fixture_path("hello.nix");
    let mut command = place.command(&["run", "--nixpkgs", "builtin", file.to_str().unwrap()]);
    place.finish(command.env("PATH", path).spawn().unwrap())
}

#[test]
fn qemu_is_not_installed() {
    let place = Place::new();
    assert_snapshot!(with_path(&place, &["nix-instantiate", "nix-store"]).seen());
}

#[test]
fn a_machine_that_may_not_be_emulated() {
    let place = Place::new();
    let text =
        with_nodes("machine.virtualisation = { guest = \"tiny\"; qemu.forceAccel = true; };");
    let ended = run(&place, &text);
    let doctor = place.run(&["doctor"]).stdout;
    if doctor.contains("ok       KVM: ") {
        assert_eq!(ended.code, Some(0), "{}", ended.seen());
        return;
    }
    assert_eq!(ended.code, Some(4), "{}", ended.seen());
    let message = "error: machine machine may not be emulated (`virtualisation.qemu.forceAccel`), and would be here: no KVM on this host; \
                   run it on a host with KVM, or leave the option out\n";
    assert_eq!(ended.stderr, message);
    // A container is not emulated.
    let file = place.path().join("test.nix");
    let ended = place.run(&[
        "run",
        "--nixpkgs",
        "builtin",
        "--backend",
        "container",
        file.to_str().unwrap(),
    ]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
}

#[test]
fn nix_is_not_installed() {
    let place = Place::new();
    assert_snapshot!(with_path(&place, &[]).seen());
}

#[test]
fn guests_that_are_not_set_up() {
    let place = Place::new();
    let file = crate::harness::fixture_path("hello.nix");
    let mut command = place.command(&["run", "--nixpkgs", "builtin", file.to_str().unwrap()]);
    let ended = place.finish(command.env("XDG_DATA_HOME", place.path()).spawn().unwrap());
    assert_snapshot!(ended.seen());
}

#[test]
fn an_evaluation_without_end() {
    let place = Place::new();
    assert_snapshot!(run(&place, "let f = x: f (x + 1) + 1; in f 1").seen());
}

#[test]
fn an_evaluation_that_needs_the_network() {
    let place = Place::new();
    let text = "import (builtins.fetchTarball \"https://host.invalid/x.tar.gz\") { }";
    assert_snapshot!(run(&place, text).seen());
}

#[test]
fn a_name_that_no_file_can_have() {
    let place = Place::new();
    let text = with_nodes("    machine.virtualisation.guest = \"tiny\";");
    assert_snapshot!(run(&place, &text.replace("\"bad\"", "\"good and/or bad\"")).seen());
}

/// The built-in guests name what they do not know, and limits.
#[test]
fn nodes_that_cannot_be() {
    let whole = |nodes: &str| with_nodes(nodes);
    for (text, message) in [
        (
            whole("machine.virtualisation.vlans = [ 300 ];"),
            "the option `virtualisation.vlans.[item 1]` is an integer from 0 to 255, but [DIR]/test.nix:4:1 defines it as 300",
        ),
        (
            whole("machine.virtualisation.emptyDiskImages = [ { size = 1; serial = \"x\"; } ];"),
            "the option `virtualisation.emptyDiskImages.[item 1].serial` does not exist; it is defined at [DIR]/test.nix:4:56; known here: driveConfig, size",
        ),
        (
            whole("machine.virtualisation.forwardPorts = [ { form = \"host\"; } ];"),
            "the option `virtualisation.forwardPorts.[item 1].form` does not exist; it is defined at [DIR]/test.nix:4:43; did you mean `virtualisation.forwardPorts.[item 1].from`?",
        ),
        (
            whole("machine.documentation.foo = 1;"),
            "the option `documentation.foo` does not exist in the built-in guests (node `machine`); it is defined at [DIR]/test.nix:4:1; known here: enable",
        ),
        (
            whole("machine = { inputs, ... }: { environment.etc.x.text = inputs.x; };"),
            "the module in [DIR]/test.nix:3:3 asks for the argument `inputs`, which nothing gives: give it with `specialArgs` (of a test's nodes: `node.specialArgs.inputs`), or `_module.args.inputs`",
        ),
        (
            whole("machine = { inputs, ... }: { imports = [ inputs.x ]; };"),
            "the module in [DIR]/test.nix:3:3 asks for the argument `inputs` to say what it imports or defines, and that must be known before: give it with `specialArgs` (of a test's nodes: `node.specialArgs.inputs`)",
        ),
        (
            "(import <nixpkgs> { }).nixosTest { name = \"bad\"; nodes.machine = { }; testScript = 7; }".to_owned(),
            "the `testScript` of the test `bad` is a value of type int: it is text, a path to a file of Python, or a function of { nodes, ... } to one of these",
        ),
        (
            "let pkgs = import <nixpkgs> { }; node = n: { name = \"m${toString n}\"; value = { }; }; in
             pkgs.nixosTest { name = \"bad\"; testScript = \"\"; nodes = builtins.listToAttrs (builtins.genList node 255); }"
                .to_owned(),
            "the test `bad` has 255 nodes, and networks have addresses for 254",
        ),
    ] {
        let ended = run(&Place::new(), &text);
        assert_eq!(ended.code, Some(2), "{}", ended.seen());
        assert_eq!(ended.stderr, format!("error: {message}\n"));
    }
}
