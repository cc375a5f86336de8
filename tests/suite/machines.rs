//! What machines do, group by group, on real guests: docs/src/compatibility.md lists the fixtures.

use crate::harness::Place;

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

#[test]
fn sickness() {
    holds("sickness.nix");
}

#[test]
fn waits() {
    holds("waits.nix");
}

/// A test that ends by its machine's sickness, and what is said of it.
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
            "MachineSick: machine server is sick: kernel panic: ",
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
        &["MachineSick: machine machine is sick: out of memory: "],
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
