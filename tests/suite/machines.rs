//! What machines do, group by group, on real guests: docs/src/compatibility.md lists the fixtures.

use crate::harness::{Place, Pty, fixture_path, without_terminal};

/// Runs a fixture whose subtests say what they show.
fn holds(fixture: &str) {
    let place = Place::new();
    let ended = place.run_fixture(fixture, &[]);
    assert_eq!(
        ended.code,
        Some(0),
        "{fixture}:\n{}\n{}",
        ended.stdout,
        ended.stderr
    );
    place.assert_tidy();
}

#[test]
fn shell() {
    holds("shell.nix");
}

/// Tests of one file, one after the other.
fn all_hold(fixture: &str, tests: &[&str], backend: &str) {
    let place = Place::new();
    for test in tests {
        let ended = place.run_fixture(fixture, &["-A", test, "--backend", backend]);
        assert_eq!(ended.code, Some(0), "{test}: {}", ended.seen());
    }
    place.assert_tidy();
}

const NODES: [&str; 6] = [
    "plain",
    "names",
    "twins",
    "extended",
    "with-nixos",
    "with-arguments",
];

#[test]
fn nodes_are_what_they_say() {
    all_hold("nodes.nix", &NODES, "container");
    all_hold("nodes.nix", &["names", "twins"], "vm");
}

#[test]
fn crashes() {
    holds("crashes.nix");
}

#[test]
fn display() {
    holds("display.nix");
}

#[test]
fn switch_root() {
    holds("switch-root.nix");
}

#[test]
fn a_machine_that_stops_slowly() {
    holds("slow-stop.nix");
}

#[test]
fn packages_of_debian() {
    holds("packages.nix");
}

#[test]
fn windows() {
    holds("windows.nix");
}

#[test]
fn efi() {
    holds("efi.nix");
}

#[test]
fn copies() {
    let place = Place::new();
    let ended = place.run_fixture("copies.nix", &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let warning = "machine: warning: devices, sockets and named pipes are not copied: pipes/pipe";
    assert!(ended.stdout.contains(warning), "{}", ended.seen());
    place.assert_tidy();
}

#[test]
fn terminal() {
    let place = Place::new();
    let file = fixture_path("terminal.nix");
    let arguments = ["run", "--nixpkgs", "builtin", file.to_str().unwrap(), "-A"];
    // Without a terminal, also if the test runner has one.
    let child = without_terminal(&mut place.command(&[&arguments[..], &["address"]].concat()));
    let ended = place.finish(child);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());

    let mut user = Pty::spawn(&mut place.command(&[&arguments[..], &["user"]].concat()));
    user.wait_for("# ");
    user.type_in("touch /tmp/from-the-terminal; sleep 1000\n");
    user.wait_for("sleep 1000\r\n");
    // Ctrl-C is the guest's: it ends the command, not the run.
    user.type_in("\x03");
    user.type_in("echo an'swer'\n");
    user.wait_for("answer\r\n");
    user.type_in("\x1d");
    user.wait_for("the console's");
    user.wait_for("terminal attached");
    user.type_in("you\n");
    user.wait_for("heard you");
    user.type_in("\x1d");
    user.wait_for("passed:");
    assert_eq!(user.end(), Some(0));
    place.assert_tidy();
}

#[test]
fn waits() {
    holds("waits.nix");
}

/// A test that ends with a crash of its machine, and the report of it.
fn ends_sick(name: &str, parts: &[&str]) {
    let place = Place::new();
    let ended = place.run_fixture("failing.nix", &["-A", name]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    for part in parts {
        assert!(
            ended.stdout.contains(part),
            "{part:?} is missing:\n{}",
            ended.seen()
        );
    }
    place.assert_tidy();
}

#[test]
fn a_kernel_panic_elsewhere() {
    ends_sick(
        "sick",
        &[
            "MachineFailure: machine server has crashed: kernel panic: ",
            "Kernel panic - not syncing: sysrq triggered crash",
            "172 │           time.sleep(600)",
            "the console of server ends:",
        ],
    );
}

#[test]
fn no_memory_left() {
    ends_sick(
        "memory",
        &["MachineFailure: machine machine has crashed: out of memory: "],
    );
}

#[test]
fn a_dependency_that_fails() {
    ends_sick(
        "dependency",
        &[
            "unit tower.service on machine is inactive, and no job is pending that could start it: base.service, which it depends on, has failed",
            "no ground to stand on",
        ],
    );
}
